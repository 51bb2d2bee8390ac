"""The results as a Markdown page, as JSON, and as a picture."""

from __future__ import annotations

import statistics
from collections.abc import Iterator
from pathlib import Path

import msgspec

from benchmarks.compare.peers import load
from benchmarks.compare.runner import Cell
from benchmarks.compare.workloads import WORKLOADS, Metric

OURS = "titan"


class Findings(msgspec.Struct):
    date: str
    rounds: int
    facts: dict[str, str]
    versions: dict[str, str]
    """Versions of the peers that took part."""
    absent: dict[str, str]
    """Peer -> the reason why it did not take part."""
    cells: dict[str, dict[str, Cell]]
    """Workload -> peer -> its results."""

    def rows(self) -> Iterator[tuple[str, Metric, dict[str, list[float]]]]:
        """Return (workload, metric, peer -> figures of its rounds) for each metric with figures."""
        for workload, cells in self.cells.items():
            for metric in WORKLOADS[workload].metrics:
                figures = {peer: cell.figures[metric.name] for peer, cell in cells.items() if cell.figures.get(metric.name)}
                if figures:
                    yield workload, metric, figures


def times_as_fast(metric: Metric, ours: float, theirs: float) -> float:
    return ours / theirs if metric.more_is_better else theirs / ours


def number(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.1f}" if value >= 10 else f"{value:.2f}"


def markdown(findings: Findings, picture: str = "") -> str:
    lines = [f"# {findings.date}: beside its peers", ""]
    lines += [
        f"`python -m benchmarks.compare`, rounds: {findings.rounds}, the peers in turn within each, each with two workers and the "
        "machine to itself. Titan with `--fsync always`, logs and sandboxes; every result was checked. "
        "*Titan is* tells how many times as fast as the peer of the row it is: above 1 Titan leads.",
        "",
        "; ".join(f"{name}: {value}" for name, value in findings.facts.items()) + ".",
        "",
    ]
    if picture:
        lines += [f"![the medians]({picture})", ""]
    lines += ["## Medians", "", *_overview(findings), ""]
    lines += ["## In full", ""]
    for workload, metric, figures in findings.rows():
        lines += [f"### {metric.title} ({metric.unit})", "", *_table(findings, workload, metric, figures), ""]
    failed = [(w, p, cell.error) for w, cells in findings.cells.items() for p, cell in cells.items() if cell.error]
    if failed:
        lines += ["## What did not work", "", "| workload | peer | why |", "| --- | --- | --- |"]
        lines += [f"| {w} | {load(p).title} | {error.replace('|', '/')} |" for w, p, error in failed] + [""]
    lines += ["## Who took part", "", "| peer | version |", "| --- | --- |"]
    lines += [f"| {load(p).title} | {version} |" for p, version in findings.versions.items()]
    lines += [f"| {load(p).title} | absent: {why} |" for p, why in findings.absent.items()]
    return "\n".join(lines) + "\n"


def _overview(findings: Findings) -> list[str]:
    peers = list(findings.versions)
    lines = [f"| | {' | '.join(load(p).title for p in peers)} |", f"| --- |{' --- |' * len(peers)}"]
    for workload in findings.cells:
        for metric in WORKLOADS[workload].metrics:
            cells = [_cell(findings.cells[workload].get(p), metric) for p in peers]
            lines.append(f"| {metric.title}, {metric.unit} | {' | '.join(cells)} |")
    return lines


def _cell(cell: Cell | None, metric: Metric) -> str:
    if cell is None:
        return ""
    figures = cell.figures.get(metric.name)
    return number(statistics.median(figures)) if figures else "failed"


def _table(findings: Findings, workload: str, metric: Metric, figures: dict[str, list[float]]) -> list[str]:
    lines = ["| peer | median | least to most | tasks a round | Titan is |", "| --- | --- | --- | --- | --- |"]
    ours = statistics.median(figures[OURS]) if OURS in figures else None
    for peer, found in figures.items():
        median = statistics.median(found)
        ratio = "" if ours is None or peer == OURS else f"{times_as_fast(metric, ours, median):.2f}"
        spread = f"{number(min(found))} to {number(max(found))}"
        count = findings.cells[workload][peer].count
        lines.append(f"| {load(peer).title} | {number(median)} | {spread} | {count:,} | {ratio} |")
    return lines


def draw(findings: Findings, path: Path) -> None:
    """Draw a bar for each peer and metric, on logarithmic axes. The whiskers go from the lowest to
    the highest figure. Needs matplotlib."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    rows = list(findings.rows())
    columns = 2
    figure, axes = pyplot.subplots(
        -(-len(rows) // columns), columns, figsize=(13, 2.5 * -(-len(rows) // columns)), squeeze=False, layout="constrained"
    )
    for axis in axes.flat[len(rows) :]:
        axis.set_axis_off()
    for axis, (_, metric, figures) in zip(axes.flat, rows, strict=False):
        names = [load(peer).title for peer in figures]
        medians = [statistics.median(found) for found in figures.values()]
        low = [m - min(found) for m, found in zip(medians, figures.values(), strict=True)]
        high = [max(found) - m for m, found in zip(medians, figures.values(), strict=True)]
        colours = ["#c44e52" if peer == OURS else "#8c9bb0" for peer in figures]
        bars = axis.barh(names, medians, color=colours, xerr=[low, high], error_kw={"lw": 1})
        axis.bar_label(bars, [number(m) for m in medians], padding=6, fontsize=8)
        axis.set_xscale("log")
        axis.set_xlim(min(medians) / 3, max(medians) * 4)
        axis.invert_yaxis()
        axis.set_title(f"{metric.title}, {metric.unit}: {'more' if metric.more_is_better else 'less'} is better", fontsize=9)
        axis.tick_params(labelsize=8)
        axis.spines[["top", "right"]].set_visible(False)
    figure.savefig(path, dpi=110, metadata={"Software": None})
    pyplot.close(figure)
