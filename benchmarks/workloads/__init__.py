"""The workloads by theme; ALL has them by name, in the order of the report."""

from benchmarks.record import Workload
from benchmarks.workloads import adbench, arrays, large, mapped, samples, small

ALL: dict[str, Workload] = {
    w.name: w for theme in (small, samples, large, mapped, arrays, adbench) for w in theme.WORKLOADS
}
