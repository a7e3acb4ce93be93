"""The workloads by theme; ALL has them by name, in the order of the report."""

from benchmarks.record import Workload
from benchmarks.workloads import large, mapped, samples, small

ALL: dict[str, Workload] = {w.name: w for theme in (small, samples, large, mapped) for w in theme.WORKLOADS}
