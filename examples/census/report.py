"""Joins the counts of all parts into report.md and report.html, and prints a summary.

Reads counts/0, counts/1 and so on. Writes to the working directory, and to CENSUS_OUT as well
if that is set.
"""

from __future__ import annotations

import json
import math
import os
import platform
import statistics
import sys
from dataclasses import dataclass, field
from html import escape
from pathlib import Path

TOP = 15
# with fewer, branches per function say little about a module
FUNCTIONS_TO_PLOT, FUNCTIONS_TO_RANK = 10, 20


@dataclass
class Function:
    module: str
    file: str
    name: str
    line: int
    lines: int
    branches: int


@dataclass
class Module:
    name: str
    files: int
    lines: int
    classes: int
    branches: int
    functions: list[Function]
    unread: list[list[str]]

    @property
    def branches_per_function(self) -> float:
        return sum(f.branches for f in self.functions) / len(self.functions) if self.functions else 0.0


@dataclass
class Totals:
    source: str
    modules: list[Module]
    """The largest first."""
    functions: list[Function] = field(default_factory=list)
    files: int = 0
    lines: int = 0
    classes: int = 0
    branches: int = 0
    unread: list[list[str]] = field(default_factory=list)

    def __post_init__(self) -> None:
        for module in self.modules:
            self.functions += module.functions
            self.files += module.files
            self.lines += module.lines
            self.classes += module.classes
            self.branches += module.branches
            self.unread += module.unread

    @property
    def branches_per_function(self) -> float:
        return sum(f.branches for f in self.functions) / max(1, len(self.functions))

    @property
    def median_function(self) -> float:
        return statistics.median(f.lines for f in self.functions) if self.functions else 0

    def most_branching(self) -> list[Module]:
        dense = [m for m in self.modules if len(m.functions) >= FUNCTIONS_TO_RANK]
        return sorted(dense, key=lambda m: -m.branches_per_function)[:TOP]

    def largest_functions(self) -> list[Function]:
        return sorted(self.functions, key=lambda f: (-f.lines, f.module, f.name))[:TOP]


def read_counts(folder: Path) -> Totals:
    """Return the counts of all parts. Raises SystemExit if those of a part are missing."""
    counts = {int(path.name): json.loads(path.read_text()) for path in folder.glob("[0-9]*")}
    parts = next(iter(counts.values()))["parts"] if counts else 0
    missing = [str(number) for number in range(parts) if number not in counts]
    if not counts or missing:
        sys.exit(f"not counted in {folder.resolve()}: {'part ' + ', '.join(missing) if missing else 'anything'}")
    modules = []
    for _, part in sorted(counts.items()):
        for entry in part["modules"]:
            functions = [Function(entry["name"], *function) for function in entry.pop("functions")]
            modules.append(Module(functions=functions, **entry))
    return Totals(counts[0]["source"], sorted(modules, key=lambda m: (-m.lines, m.name)))


# -- Markdown --------------------------------------------------------------------------------------
def headline(totals: Totals) -> list[tuple[str, str]]:
    return [
        ("modules and packages", f"{len(totals.modules):,}"),
        ("files", f"{totals.files:,}"),
        ("lines", f"{totals.lines:,}"),
        ("functions", f"{len(totals.functions):,}"),
        ("classes", f"{totals.classes:,}"),
        ("branches", f"{totals.branches:,}"),
        ("branches per function", f"{totals.branches_per_function:.1f}"),
        ("lines of the median function", f"{totals.median_function:g}"),
    ]


def package_rows(modules: list[Module]) -> list[list[str]]:
    return [
        [m.name, f"{m.lines:,}", f"{len(m.functions):,}", f"{m.classes:,}", f"{m.branches:,}", f"{m.branches_per_function:.1f}"]
        for m in modules
    ]


def function_rows(functions: list[Function]) -> list[list[str]]:
    return [[f.name, f"{f.file}:{f.line}", f"{f.lines:,}", f"{f.branches:,}"] for f in functions]


PACKAGE_COLUMNS = ["module", "lines", "functions", "classes", "branches", "branches/function"]
FUNCTION_COLUMNS = ["function", "where", "lines", "branches"]


def markdown_table(columns: list[str], rows: list[list[str]], texts: int) -> str:
    """Return a Markdown table. The first `texts` columns are text, the others numbers."""
    ruler = ["---"] * texts + ["---:"] * (len(columns) - texts)
    return "\n".join(f"| {' | '.join(row)} |" for row in [columns, ruler, *rows])


def as_code(rows: list[list[str]], texts: int) -> list[list[str]]:
    return [[f"`{cell}`" if i < texts else cell for i, cell in enumerate(row)] for row in rows]


def markdown(totals: Totals) -> str:
    lines = [
        "# Census of the Python standard library",
        f"Python {platform.python_version()}, `{totals.source}`, tests left out.",
        markdown_table(["what", "how many"], [[what, number] for what, number in headline(totals)], 1),
        f"## The {min(TOP, len(totals.modules))} largest",
        markdown_table(PACKAGE_COLUMNS, as_code(package_rows(totals.modules[:TOP]), 1), 1),
        "## Where the decisions are",
        f"Most branches per function, of the modules with at least {FUNCTIONS_TO_RANK} functions.",
        markdown_table(PACKAGE_COLUMNS, as_code(package_rows(totals.most_branching()), 1), 1),
        "## The largest functions",
        markdown_table(FUNCTION_COLUMNS, as_code(function_rows(totals.largest_functions()), 2), 2),
    ]
    if totals.unread:
        lines += ["## Not counted", markdown_table(["file", "why"], as_code(totals.unread, 2), 2)]
    return "\n\n".join(lines) + "\n"


# -- the plot --------------------------------------------------------------------------------------
WIDTH, HEIGHT = 920, 460
LEFT, RIGHT, TOP_EDGE, BOTTOM = 52, 24, 20, 48


def plot(totals: Totals) -> str:
    """Return an SVG plot with a dot per module. The x-axis shows lines (by powers of ten), the
    y-axis branches per function, the area of a dot functions."""
    shown = [m for m in totals.modules if len(m.functions) >= FUNCTIONS_TO_PLOT]
    if not shown:
        return f"<p>No module has {FUNCTIONS_TO_PLOT} functions.</p>"
    low = math.log10(min(m.lines for m in shown) * 0.8)
    high = math.log10(max(m.lines for m in shown) * 1.6)
    step = next(s for s in (1, 2, 5, 10, 20, 50, 100, 1000) if max(m.branches_per_function for m in shown) / s <= 8)
    top = math.ceil(max(m.branches_per_function for m in shown) / step + 0.2) * step

    def x(lines: float) -> float:
        return LEFT + (math.log10(lines) - low) / (high - low) * (WIDTH - LEFT - RIGHT)

    def y(ratio: float) -> float:
        return HEIGHT - BOTTOM - ratio / top * (HEIGHT - TOP_EDGE - BOTTOM)

    def radius(module: Module) -> float:
        return 2.5 + 0.42 * math.sqrt(len(module.functions))

    parts = [f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="Modules by lines and by branches per function">']
    for i in range(int(top / step) + 1):
        at = y(i * step)
        parts.append(f'<line class="grid" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{at:.1f}" y2="{at:.1f}"/>')
        parts.append(f'<text class="tick" x="{LEFT - 10}" y="{at + 4:.1f}" text-anchor="end">{i * step}</text>')
    for power in range(math.ceil(low), math.floor(high) + 1):
        at = x(10**power)
        parts.append(f'<text class="tick" x="{at:.1f}" y="{HEIGHT - BOTTOM + 20}" text-anchor="middle">{10**power:,}</text>')
    parts.append(f'<text class="axis" x="{WIDTH - RIGHT}" y="{HEIGHT - 6}" text-anchor="end">lines of source →</text>')
    parts.append(f'<text class="axis" x="{LEFT}" y="12">↑ branches per function</text>')
    mean = y(totals.branches_per_function)
    parts.append(f'<line class="mean" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{mean:.1f}" y2="{mean:.1f}"/>')
    parts.append(f'<text class="tick" x="{LEFT + 4}" y="{mean - 6:.1f}">all: {totals.branches_per_function:.1f}</text>')
    for m in sorted(shown, key=lambda m: -len(m.functions)):
        title = f"{m.name}: {m.lines:,} lines, {len(m.functions):,} functions, {m.branches_per_function:.1f} branches each"
        place = f'cx="{x(m.lines):.1f}" cy="{y(m.branches_per_function):.1f}" r="{radius(m):.1f}"'
        parts.append(f"<circle {place}><title>{escape(title)}</title></circle>")
    big = [(x(m.lines), y(m.branches_per_function), radius(m)) for m in shown if radius(m) > 9]
    # no name lies on one of these, or on another name
    taken = [(cx - r, cy - r, cx + r, cy + r) for cx, cy, r in big]
    for m in [*shown[:12], *sorted(shown, key=lambda m: -m.branches_per_function)[:8]]:
        size = 7.0 * len(m.name)
        middle, at = x(m.lines), y(m.branches_per_function)
        for left in (middle + radius(m) + 4, middle - radius(m) - 4 - size):
            box = (left, at - 8, left + size, at + 6)
            free = all(box[2] < b[0] or b[2] < box[0] or box[3] < b[1] or b[3] < box[1] for b in taken)
            if free and left > LEFT and box[2] < WIDTH - 4:
                taken.append(box)
                parts.append(f'<text class="name" x="{left:.1f}" y="{at + 4:.1f}">{escape(m.name)}</text>')
                break
    return "\n".join([*parts, "</svg>"])


# -- HTML ------------------------------------------------------------------------------------------
STYLE = """
:root {
  color-scheme: light dark;
  --page: #fbfaf8; --card: #fff; --ink: #1d2129; --soft: #5c6470; --line: #e4e2dd; --dot: #2f6db5; --mean: #b4562b
}
@media (prefers-color-scheme: dark) {
  :root { --page: #15171b; --card: #1c1f25; --ink: #e7e6e3; --soft: #9aa1ac; --line: #2d3138; --dot: #78aeea; --mean: #e0956d }
}
* { box-sizing: border-box }
body { margin: 0; background: var(--page); color: var(--ink); font: 15px/1.5 system-ui, sans-serif }
main { max-width: 980px; margin: 0 auto; padding: 40px 24px 64px }
h1 { font-size: 28px; line-height: 1.2; margin: 0 0 4px }
h2 { font-size: 18px; margin: 40px 0 4px }
p { margin: 0 0 12px; color: var(--soft) }
code, td.text { font-family: ui-monospace, monospace; font-size: 13px }
code { overflow-wrap: anywhere }
dl { display: grid; grid-template-columns: repeat(auto-fit, minmax(200px, 1fr)); gap: 12px; margin: 24px 0 0 }
dl div, .card { background: var(--card); border: 1px solid var(--line); border-radius: 8px; padding: 12px 16px }
dt { color: var(--soft); font-size: 13px }
dd { margin: 0; font-size: 24px; font-weight: 600; font-variant-numeric: tabular-nums }
.card { overflow-x: auto }
svg { display: block; width: 100%; min-width: 640px; height: auto; font: 12px system-ui, sans-serif }
.grid { stroke: var(--line) }
.mean { stroke: var(--mean); stroke-dasharray: 4 4 }
.tick, .axis { fill: var(--soft) }
.name { fill: var(--ink); paint-order: stroke; stroke: var(--card); stroke-width: 3px; stroke-linejoin: round }
circle { fill: var(--dot); fill-opacity: .45; stroke: var(--dot) }
circle:hover { fill-opacity: 1 }
table { border-collapse: collapse; width: 100% }
th { text-align: right; font-weight: 500; color: var(--soft); font-size: 13px; white-space: nowrap }
th, td { padding: 5px 0 5px 16px; border-bottom: 1px solid var(--line); font-variant-numeric: tabular-nums; text-align: right }
th.text, td.text { text-align: left; padding-left: 0; padding-right: 8px }
tr:last-child td { border-bottom: 0 }
"""


def html_table(columns: list[str], rows: list[list[str]], texts: int) -> str:
    def cells(tag: str, row: list[str]) -> str:
        return "".join(f"<{tag}{' class=text' if i < texts else ''}>{escape(cell)}</{tag}>" for i, cell in enumerate(row))

    body = "\n".join(f"<tr>{cells('td', row)}</tr>" for row in rows)
    return f'<div class="card"><table><thead><tr>{cells("th", columns)}</tr></thead><tbody>\n{body}\n</tbody></table></div>'


def html(totals: Totals) -> str:
    tiles = "\n".join(f"<div><dt>{escape(what)}</dt><dd>{number}</dd></div>" for what, number in headline(totals))
    unread = ""
    if totals.unread:
        unread = f"<h2>Not counted</h2>{html_table(['file', 'why'], totals.unread, 2)}"
    return f"""<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Census of the Python standard library</title>
<style>{STYLE}</style>
<main>
<h1>Census of the Python standard library</h1>
<p>Python {escape(platform.python_version())}, <code>{escape(totals.source)}</code>, tests left out</p>
<dl>
{tiles}
</dl>
<h2>Size and complexity</h2>
<p>Each dot is a module or package with at least {FUNCTIONS_TO_PLOT} functions; its area grows with how many it has.</p>
<div class="card">
{plot(totals)}
</div>
<h2>The {min(TOP, len(totals.modules))} largest</h2>
<p>Packages count with all that is in them.</p>
{html_table(PACKAGE_COLUMNS, package_rows(totals.modules[:TOP]), 1)}
<h2>Where the decisions are</h2>
<p>Most branches per function, of the modules with at least {FUNCTIONS_TO_RANK} functions.</p>
{html_table(PACKAGE_COLUMNS, package_rows(totals.most_branching()), 1)}
<h2>The largest functions</h2>
<p>From the line of <code>def</code> to the last, what is nested in it included; its branches without those of nested functions.</p>
{html_table(FUNCTION_COLUMNS, function_rows(totals.largest_functions()), 2)}
{unread}
</main>
</html>
"""


def main() -> None:
    totals = read_counts(Path("counts"))
    pages = {"report.md": markdown(totals), "report.html": html(totals)}
    out = os.environ.get("CENSUS_OUT")
    for folder in [Path(), *([Path(out)] if out else [])]:
        folder.mkdir(parents=True, exist_ok=True)
        for name, text in pages.items():
            unfinished = folder / f"{name}.{os.getpid()}.part"
            unfinished.write_text(text, encoding="utf-8")
            unfinished.replace(folder / name)
    for what, number in headline(totals):
        print(f"{number:>10}  {what}")
    if totals.modules:
        print(f"\nlargest: {', '.join(f'{m.name} ({m.lines:,} lines)' for m in totals.modules[:5])}")
    if totals.unread:
        print(f"not counted: {len(totals.unread)} files that do not parse")
    print()
    for name in pages:
        if out:
            print(f"report: {Path(out).resolve() / name}")
        else:
            print(f"titan artifact get {os.environ.get('TITAN_RUN', 'RUN')}/report.{name} {name}")


if __name__ == "__main__":
    main()
