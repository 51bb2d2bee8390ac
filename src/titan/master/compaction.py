"""Snapshots, made by a process of their own: it replays the sealed part of the log as a recovery would and writes the state.

So the master never stalls for one, and each snapshot proves that the log before it can be replayed. Run as
`python -m titan.master.compaction STORE THROUGH [--keep-segments]`.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

from titan.core import image
from titan.errors import TitanError
from titan.journal import latest_snapshot, prune, write_snapshot
from titan.master.recovery import replay
from titan.model.settings import Settings


def compact(store: Path, through: int, *, keep_segments: bool = False) -> Path | None:
    """Writes a snapshot as of the last record at or before `through` and deletes what it makes needless."""
    state, seq, _, _ = replay(store, Settings(), through)
    if seq <= latest_snapshot(store).seq:
        return None
    path = write_snapshot(store, seq=seq, term=state.term, chunks=image.dump(state))
    prune(store, keep_segments=keep_segments)
    return path


def main(argv: list[str]) -> int:
    os.nice(10)
    store, through = Path(argv[0]), int(argv[1])
    try:
        path = compact(store, through, keep_segments="--keep-segments" in argv)
    except TitanError as e:
        sys.stderr.write(f"titan: no snapshot: {e}\n")
        return 1
    sys.stdout.write(f"{path or ''}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
