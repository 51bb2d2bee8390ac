"""`titan journal`: inspect, verify and repair the journal on disk.

Only the repair needs the master to be stopped.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from dataclasses import asdict, is_dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from titan.cli.options import home_option, json_option
from titan.errors import CallerError, LogCompacted, NotFound, TitanError
from titan.sdk.address import default_home

if TYPE_CHECKING:
    from titan.journal.engine import LogEngine
    from titan.journal.records import Record


@click.group()
def journal() -> None:
    """Inspect, verify and repair the journal of a home."""


@journal.command()
@home_option("The master's home.  [default: .titan]")
@click.option("--events", is_flag=True, help="Print the events, one per line.")
@click.option("--after", default=0, metavar="SEQ", help="With --events: only those after this sequence.")
@json_option
def inspect(home: Path | None, events: bool, after: int, as_json: bool) -> None:
    """List segments and snapshots, with their contents and whether they are whole."""
    from titan.journal import inspect as inspect_journal

    store = _store(home)
    if events:
        _print_events(store, after, as_json=as_json)
        return
    found = inspect_journal(store)
    if as_json:
        print(json.dumps([{**_plain(d), "state": d.state} for d in found]))
        return
    for d in found:
        print(f"{d.name}  {d.bytes:>12,} bytes  {_span(d)}  {d.state}")


@journal.command()
@home_option("The master's home.  [default: .titan]")
@json_option
def verify(home: Path | None, as_json: bool) -> None:
    """Read and replay all records that a recovery reads. Exit code 1 if a recovery would fail."""
    from titan.journal import verify as verify_journal

    store = _store(home)
    report = verify_journal(store)
    if report.ok:
        report = replace(report, problems=_replay_problems(store))
    if as_json:
        print(json.dumps({**_plain(report), "ok": report.ok}))
    else:
        for line in (*report.problems, *report.notes):
            print(line)
        verdict = "ok" if report.ok else "DAMAGED"
        print(f"{verdict}: {report.records:,} records, {report.events:,} events, up to sequence {report.last_seq}")
    click.get_current_context().exit(0 if report.ok else 1)


@journal.command()
@home_option("The home of a stopped master.")
@click.option("--accept-loss", is_flag=True, help="Confirm that all records behind the damage may be lost.")
@json_option
def repair(home: Path | None, accept_loss: bool, as_json: bool) -> None:
    """Cut a damaged journal before its damage, so that a master can start. The part behind the
    damage is put aside, not deleted.

    Use this if there is no backup. The master must be stopped. Workers that reconnect end the jobs
    that are no longer in the journal.
    """
    from titan.host.home_lock import HomeLock
    from titan.journal import CompactionLock
    from titan.journal import accept_loss as cut_damage

    store = _store(home)
    if not accept_loss:
        raise CallerError(
            "the repair loses all records behind the damage: check with `titan journal verify`, then pass --accept-loss"
        )
    with HomeLock(store.parent / "lock"):
        lock = CompactionLock(store)
        lock.take_over()
        with lock:
            outcome = cut_damage(store, name=f"damaged-{time.strftime('%Y%m%d-%H%M%S')}")
    if as_json:
        print(json.dumps(_plain(outcome)))
    elif outcome.aside is None:
        print(f"nothing to repair: the journal is whole, up to sequence {outcome.last_seq}")
    else:
        for problem in outcome.problems:
            print(problem)
        lost = (
            f"sequences {outcome.last_seq + 1} to {outcome.lost_through} at least"
            if outcome.lost_through > outcome.last_seq
            else "its end"
        )
        print(f"the journal now ends at sequence {outcome.last_seq}; lost: {lost}; the old files are in {outcome.aside}")


def _store(home: Path | None) -> Path:
    store = (home or default_home()) / "store"
    if not store.is_dir():
        raise NotFound(f"{store} is not a journal: pass the master's home as --home")
    return store


def _replay_problems(store: Path) -> tuple[str, ...]:
    """Return the errors with which a master would refuse to start on a journal of whole bytes.

    Examples are a journal of another version of Titan, or events that do not replay. A master may
    write and compact the journal meanwhile.
    """
    from titan.master.recovery import standby
    from titan.master.storage import open_storage
    from titan.model.settings import Settings

    try:
        standby(open_storage(store), Settings()).settle()
    except TitanError as error:
        return (str(error),)
    return ()


def _kept_records(engine: LogEngine, after: int) -> Iterator[Record]:
    """Yield the records after `after` that were not replaced by a snapshot. Say on stderr which
    sequences were."""
    while True:
        first = engine.first_seq()
        if first > after + 1:
            click.echo(f"titan: sequences {after + 1:,} to {first - 1:,} are only in the snapshot, without their events", err=True)
            after = first - 1
        try:
            for record in engine.tail(after, live=True):
                yield record
                after = record.last_seq
        except LogCompacted:  # the master has just removed more
            continue
        return


def _print_events(store: Path, after: int, *, as_json: bool) -> None:
    import msgspec

    from titan.core.events.events import decode
    from titan.master.storage import open_storage

    for record in _kept_records(open_storage(store), after):
        for i, event in enumerate(decode(record.payload)):
            fields = {name: getattr(event, name) for name in event.__struct_fields__}
            line = {"seq": record.first_seq + i, "event": type(event).__name__, **fields}
            print(msgspec.json.encode(line).decode() if as_json else f"{line.pop('seq')} {line.pop('event')} {line}")


def _plain(value: Any) -> dict[str, Any]:
    fields = asdict(value) if is_dataclass(value) and not isinstance(value, type) else value._asdict()
    return {name: _jsonable(item) for name, item in fields.items() if name != "verdict"}


def _jsonable(item: Any) -> Any:
    if isinstance(item, list | tuple | set | frozenset):
        return [_jsonable(element) for element in item]
    return item if isinstance(item, str | int | float | bool | None) else str(item)


def _span(d: Any) -> str:
    if hasattr(d, "records"):
        return f"{d.records:>8,} records  sequences {d.first_seq} to {d.last_seq}"
    return f"{d.chunks:>8,} chunks   as of sequence {d.seq}"
