"""Snapshots, made by a process of their own: it replays the sealed part of the log as a recovery would and writes the state.

So the master never stalls for one, and each snapshot proves that the log before it can be replayed. Run as
`python -m titan.master.compaction STORE THROUGH PARENT [--keep-segments]`, where PARENT is the master's pid: it ends with
the master, since nobody but the master of a home may delete segments there.
"""

from __future__ import annotations

import sys
from pathlib import Path

from titan.core import image
from titan.errors import TitanError
from titan.journal import CompactionLock, latest_snapshot, prune, write_snapshot
from titan.master.beside import begin_beside
from titan.master.reading import origin
from titan.master.recovery import replay
from titan.model.settings import Settings

MODULE = "titan.master.compaction"


def compact(store: Path, through: int, *, keep_segments: bool = False) -> Path | None:
    """Writes a snapshot as of the last record at or before `through` and deletes what it makes needless.

    Raises Conflict if that is being done by another process.
    """
    with CompactionLock(store, module=MODULE):
        state, seq, _, _ = replay(store, Settings(), through)
        if seq <= latest_snapshot(store).seq:
            return None
        path = write_snapshot(store, seq=seq, term=state.term, chunks=image.dump(state), origin=origin())
        prune(store, keep_segments=keep_segments)
        return path


def main(argv: list[str]) -> int:
    store, through, parent = Path(argv[0]), int(argv[1]), int(argv[2])
    begin_beside(parent)
    try:
        path = compact(store, through, keep_segments="--keep-segments" in argv)
    except TitanError as e:
        sys.stderr.write(f"titan: no snapshot: {e}\n")
        return 1
    sys.stdout.write(f"{path or ''}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
