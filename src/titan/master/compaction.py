"""Compaction: a child process replays the log and writes a snapshot.

The master therefore does not stall, and each snapshot proves that the log before it can be
replayed. The master runs `python -m titan.master.compaction LOCATION THROUGH PARENT
[--keep-segments]`, where PARENT is its pid. The child ends with the master, because only the master
of a home may delete segments there.
"""

from __future__ import annotations

import sys

from titan.core.state import snapshot
from titan.errors import TitanError
from titan.journal.engine import LogEngine, SnapshotInfo
from titan.master.child_process import begin_beside
from titan.master.recovery import replay
from titan.master.storage import open_storage
from titan.model.settings import Settings

MODULE = "titan.master.compaction"


def compact(engine: LogEngine, through: int, *, keep_segments: bool = False) -> SnapshotInfo | None:
    """Write a snapshot as of the last record at or before `through`, and prune the log.

    Returns None if a snapshot already covers that record. Raises Conflict if another process is
    compacting.
    """
    with engine.compaction_guard(module=MODULE):
        follower = replay(engine, Settings(), through)
        if follower.seq <= engine.latest_snapshot().seq:
            return None
        made = engine.put_snapshot(seq=follower.seq, term=follower.state.term, chunks=snapshot.dump(follower.state))
        engine.prune(keep_log=keep_segments)
        return made


def main(argv: list[str]) -> int:
    location, through, parent = argv[0], int(argv[1]), int(argv[2])
    begin_beside(parent)
    try:
        made = compact(open_storage(location), through, keep_segments="--keep-segments" in argv)
    except TitanError as e:
        sys.stderr.write(f"titan: no snapshot: {e}\n")
        return 1
    sys.stdout.write(f"{made.name if made is not None else ''}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
