"""Print the coverage of a run with pytest-cov: a line for each package, or for each file of a
package, with the lines that were not covered.

python tests/coverage_report.py .coverage.json [PACKAGE or FILE ...]
"""

from __future__ import annotations

import json
import sys
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any


def package_of(file: str) -> str:
    """Return the package of a file, such as `core` for src/titan/core/step.py; `(top)` for modules
    without a package."""
    parts = file.partition("titan/")[2].split("/")
    return parts[0] if len(parts) > 1 else "(top)"


def row(name: str, summaries: Iterable[Mapping[str, int]]) -> str:
    total: Counter[str] = Counter()
    for summary in summaries:
        total.update({key: summary[key] for key in ("num_statements", "covered_lines", "num_branches", "covered_branches")})
    lines = 100.0 * total["covered_lines"] / max(1, total["num_statements"])
    branches = 100.0 * total["covered_branches"] / total["num_branches"] if total["num_branches"] else 100.0
    return f"{name:<44} {total['num_statements']:>6} {lines:>6.1f} % {total['num_branches']:>6} {branches:>6.1f} %"


def ranges(lines: Iterable[int]) -> str:
    """Return the lines as ranges, such as `3-5, 9` for 3, 4, 5, 9."""
    spans: list[list[int]] = []
    for line in lines:
        if spans and line == spans[-1][1] + 1:
            spans[-1][1] = line
        else:
            spans.append([line, line])
    return ", ".join(str(first) if first == last else f"{first}-{last}" for first, last in spans)


def report(files: Mapping[str, Any], shown: list[str]) -> list[str]:
    out = [f"{'':<44} {'lines':>6} {'run':>8} {'ways':>6} {'taken':>8}"]
    if not shown:
        packages: dict[str, list[Any]] = {}
        for file, about in sorted(files.items(), key=lambda item: package_of(item[0])):
            packages.setdefault(package_of(file), []).append(about["summary"])
        out += [row(package, summaries) for package, summaries in packages.items()]
        return [*out, row("all", [about["summary"] for about in files.values()])]
    for file, about in sorted(files.items()):
        if package_of(file) in shown or any(file.endswith(name) for name in shown):
            out.append(row(file.partition("titan/")[2], [about["summary"]]))
            if about["missing_lines"]:
                out.append(f"    not run: {ranges(about['missing_lines'])}")
            if about["missing_branches"]:
                out.append("    not taken: " + ", ".join(f"{a}->{b}" for a, b in about["missing_branches"]))
    return out


if __name__ == "__main__":
    found = json.loads(Path(sys.argv[1]).read_text())
    print("\n".join(report(found["files"], sys.argv[2:])))
