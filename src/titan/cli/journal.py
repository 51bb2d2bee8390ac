"""`titan journal`: a look at the log on disk. Reads only; a running master need not be stopped for it."""

from __future__ import annotations

import json
from dataclasses import asdict, is_dataclass
from pathlib import Path
from typing import Any

import click

from titan.cli.options import DEFAULT_HOME, home_option, json_option
from titan.errors import NotFound


@click.group()
def journal() -> None:
    """Inspect and verify the journal of a home."""


@journal.command()
@home_option("The master's home.  [default: .titan]")
@click.option("--events", is_flag=True, help="Print the events themselves, one a line.")
@click.option("--after", default=0, metavar="SEQ", help="With --events: those behind this sequence.")
@json_option
def inspect(home: Path | None, events: bool, after: int, as_json: bool) -> None:
    """List segments and snapshots: what they hold and whether they are whole."""
    from titan.journal import inspect as look

    store = _store(home)
    if events:
        _print_events(store, after, as_json=as_json)
        return
    found = look(store)
    if as_json:
        print(json.dumps([{**_plain(d), "state": d.state} for d in found]))
        return
    for d in found:
        print(f"{d.name}  {d.bytes:>12,} bytes  {_span(d)}  {d.state}")


@journal.command()
@home_option("The master's home.  [default: .titan]")
@json_option
def verify(home: Path | None, as_json: bool) -> None:
    """Read everything a recovery would, record by record. Exit code 1 if it would fail."""
    from titan.journal import verify as check

    report = check(_store(home))
    if as_json:
        print(json.dumps({**_plain(report), "ok": report.ok}))
    else:
        for line in (*report.problems, *report.notes):
            print(line)
        verdict = "ok" if report.ok else "DAMAGED"
        print(f"{verdict}: {report.records:,} records, {report.events:,} events, up to sequence {report.last_seq}")
    click.get_current_context().exit(0 if report.ok else 1)


def _store(home: Path | None) -> Path:
    store = (home or DEFAULT_HOME) / "store"
    if not store.is_dir():
        raise NotFound(f"{store} is no journal: name the master's home with --home")
    return store


def _print_events(store: Path, after: int, *, as_json: bool) -> None:
    import msgspec

    from titan.core.events import decode
    from titan.journal import read_records

    for record in read_records(store, after):
        for i, event in enumerate(decode(record.payload)):
            fields = {name: getattr(event, name) for name in event.__struct_fields__}
            line = {"seq": record.first_seq + i, "event": type(event).__name__, **fields}
            print(msgspec.json.encode(line).decode() if as_json else f"{line.pop('seq')} {line.pop('event')} {line}")


def _plain(value: Any) -> dict[str, Any]:
    fields = asdict(value) if is_dataclass(value) and not isinstance(value, type) else value._asdict()
    return {name: _jsonable(item) for name, item in fields.items() if name != "verdict"}


def _jsonable(item: Any) -> Any:
    if isinstance(item, list | tuple | set | frozenset):
        return [_jsonable(each) for each in item]
    return item if isinstance(item, str | int | float | bool | None) else str(item)


def _span(d: Any) -> str:
    if hasattr(d, "records"):
        return f"{d.records:>8,} records  sequences {d.first_seq} to {d.last_seq}"
    return f"{d.chunks:>8,} chunks   as of sequence {d.seq}"
