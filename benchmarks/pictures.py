"""Two pictures: the ratios of all peers, and how time and code grow with the length of the chain."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.record import OURS, Workload
from benchmarks.report import Run, figure, ratio


def draw(run: Run, workloads: Sequence[Workload], directory: Path) -> None:
    """Both pictures as SVG, without what changes from run to run beside the figures."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    with plt.rc_context({"svg.fonttype": "none", "svg.hashsalt": "gradcompile", "font.size": 9}):
        for name, picture in (("benchmarks", ratios), ("scaling", growth)):
            drawn = picture(plt, run, workloads)
            if drawn is not None:
                drawn.savefig(directory / f"{name}.svg", metadata={"Date": None}, bbox_inches="tight")
                plt.close(drawn)


def ratios(plt: Any, run: Run, workloads: Sequence[Workload]) -> Any:
    """A bar for the evaluation time of each peer over ours; what is aimed at is a black mark."""
    bars = []
    for w in workloads:
        found = run.of(w)
        ours = figure(found.get(OURS), "run")
        aims = {r.against: r.bound for r in w.reaches if r.figure == "run"}
        bars += [(w.name, p, ratio(figure(r, "run"), ours), aims.get(p)) for p, r in found.items() if p != OURS]
    if not bars:
        return None
    drawn, axes = plt.subplots(figsize=(8, 0.24 * len(bars) + 1))
    colours = {peer: f"C{k % 10}" for k, peer in enumerate(dict.fromkeys(peer for _, peer, _, _ in bars))}
    for place, (_, peer, value, aim) in enumerate(bars):
        axes.barh(place, (value or 1) - 1, left=1, color=colours[peer])
        if value is None:
            axes.text(1.05, place, "no result", va="center", fontsize=7, color="grey")
        if aim:
            axes.plot([aim, aim], [place - 0.4, place + 0.4], color="black", linewidth=2)
    axes.set_yticks(range(len(bars)), [f"{name}: {peer}" for name, peer, _, _ in bars])
    axes.set(xscale="log", xlabel="time of the peer / ours (black: the reach)", ylim=(len(bars) - 0.4, -0.6))
    axes.axvline(1, color="grey", linewidth=1)
    axes.grid(axis="x", alpha=0.3)
    return drawn


def growth(plt: Any, run: Run, workloads: Sequence[Workload]) -> Any:
    """First result, code and evaluation of ours against the number of parameters of the chain."""
    found = [(w.size, run.of(w).get(OURS)) for w in workloads if w.name.startswith("chain-")]
    done = [(size, r) for size, r in found if r is not None and r.status == "ok"]
    if not done:
        return None
    drawn, panels = plt.subplots(1, 3, figsize=(9, 2.6), layout="constrained")
    sizes = [size for size, _ in done]
    lines = (
        ("first result, s", {"": [figure(r, "first") for _, r in done]}),
        ("code", {k: [r.facts[k.replace(" ", "_")] for _, r in done] for k in ("source", "machine code")}),
        ("evaluation, s", {"": [figure(r, "run") for _, r in done]}),
    )
    for axes, (title, series) in zip(panels, lines, strict=True):
        for label, values in series.items():
            axes.loglog(sizes, values, marker="o", label=label or None)
        axes.set(title=title, xlabel="parameters")
        axes.grid(alpha=0.3)
    panels[1].legend()
    return drawn
