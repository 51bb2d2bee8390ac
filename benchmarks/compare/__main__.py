"""Compare Titan with every installed peer, on the same work, interleaved in one run.

    python -m benchmarks.compare [--workloads ...] [--peers ...] [--rounds 3] [--quick] [--json]
    [--out DIR]

Writes DATE-compare.md and a picture to benchmarks/results/ (with --json DATE-compare.json, too) and
prints the page. --quick is a smoke test of few tasks and one round: its figures mean nothing, and
it writes files only where --out says.
"""

from __future__ import annotations

import argparse
import datetime
import importlib.util
import sys
import tempfile
from pathlib import Path

import msgspec

from benchmarks.compare import confine, report
from benchmarks.compare.facts import facts
from benchmarks.compare.peers import NAMES, load
from benchmarks.compare.runner import ROOT, Plan, measure
from benchmarks.compare.workloads import WORKLOADS


def main() -> int:
    asked = parse()
    confine.adopt_orphans()
    confine.interrupt_on_sigterm()
    absent = {name: why for name in asked.peers if (why := load(name).absent())}
    peers = {name: load(name) for name in asked.peers if name not in absent}
    plan = Plan(
        workloads=[name for name in asked.workloads if possible(name)],
        peers=peers,
        rounds=asked.rounds or (1 if asked.quick else 3),
        quick=asked.quick,
        scratch=asked.scratch,
    )
    findings = report.Findings(
        date=datetime.date.today().isoformat(),
        rounds=plan.rounds,
        facts=facts(asked.scratch or Path(tempfile.gettempdir())),
        versions={name: cls.version() for name, cls in peers.items()},
        absent=absent,
        cells={},
    )
    for name, why in absent.items():
        tell(f"{name} is absent: {why}")
    try:
        findings.cells = measure(plan, tell)
    except KeyboardInterrupt:
        tell("interrupted; all that was started is ended")
        return 130
    out = asked.out or (None if asked.quick else ROOT / "benchmarks" / "results")
    page = write(findings, out, as_json=asked.json) if out is not None else report.markdown(findings)
    print(msgspec.json.encode(findings).decode() if asked.json else page)
    return 0


def possible(workload: str) -> bool:
    needed = WORKLOADS[workload].needs
    if needed and importlib.util.find_spec(needed) is None:
        tell(f"{workload} is left out: {needed} is not installed")
        return False
    return True


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        "python -m benchmarks.compare", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--workloads", nargs="+", choices=list(WORKLOADS), default=list(WORKLOADS), metavar="NAME", help=", ".join(WORKLOADS)
    )
    parser.add_argument("--peers", nargs="+", choices=NAMES, default=list(NAMES), metavar="NAME", help=", ".join(NAMES))
    parser.add_argument("--rounds", type=int, default=0, help="3, or 1 with --quick")
    parser.add_argument("--quick", action="store_true", help="few tasks, one round: only to see that it works")
    parser.add_argument("--json", action="store_true", help="print JSON, and write it beside the page")
    parser.add_argument("--out", type=Path, metavar="DIR", help="where the page goes, else benchmarks/results")
    parser.add_argument(
        "--scratch", type=Path, metavar="DIR", help="where the peers' data goes, else the system's temporary folder"
    )
    return parser.parse_args()


def write(findings: report.Findings, folder: Path, *, as_json: bool) -> str:
    """Write the page and its picture, and return the page. The files of an earlier run of the same
    day are kept."""
    folder.mkdir(parents=True, exist_ok=True)
    stem, n = f"{findings.date}-compare", 1
    while (folder / f"{stem}.md").exists():
        n += 1
        stem = f"{findings.date}-compare-{n}"
    picture = f"{stem}.png"
    try:
        report.draw(findings, folder / picture)
    except ImportError:
        tell("no picture: matplotlib is not installed")
        picture = ""
    page = report.markdown(findings, picture)
    (folder / f"{stem}.md").write_text(page)
    if as_json:
        (folder / f"{stem}.json").write_bytes(msgspec.json.format(msgspec.json.encode(findings), indent=2) + b"\n")
    tell(f"written: {stem}.md")
    return page


def tell(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
