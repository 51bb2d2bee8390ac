"""Which leases are of this home's own past, and which of another one's.

Each start of a master begins a term and draws a random id for it. A home that is restored from an
older copy, or that lost the tail of its log, gives a term out a second time, and with it the
numbers of leases and jobs. The draws differ. So a lease counts only under the draw that this home
recorded for its term; and a worker that holds a lease under another draw, or of a term that is
still to come, proves that this home forgot something. Then a term begins that nobody has heard of.
"""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import sha256

from titan.core.events import events as ev
from titan.core.state.state import State
from titan.core.turn import Turn

TERM_LEAP = 1024
"""A home that is known to be a copy begins a term so far above its latest: the original may have
started so often since."""
TERMS_AHEAD = 1 << 20
"""A lease of a term so far above the latest is no proof of anything: nobody starts a master a
million times."""
TERMS_HEARD = 1 << 30
"""No worker's word raises the term above this one, however often it is repeated: numbers of leases
and jobs have 31 bits for it."""


def term_floor(state: State, *, copied: bool) -> int:
    """The term that the next one has to be above. `copied`: the home is known to be a copy."""
    return state.term + (TERM_LEAP if copied else 0)


def fence_foreign(turn: Turn, name: str, leases: Sequence[int], draws: Sequence[str], draw_of: Sequence[int]) -> dict[int, None]:
    """The leases, of those that worker `name` holds, that this home did not give out. Begins a new
    term if there are any.

    Lease i was given under `draws[draw_of[i]]`; "", or no columns, are those of a worker that does
    not know draws.
    """
    state = turn.state
    given = {(lease >> 32, i) for lease, i in zip(leases, draw_of, strict=True)} if draw_of else {(n >> 32, -1) for n in leases}
    foreign = {pair for pair in given if not _is_ours(state, pair[0], draws[pair[1]] if draw_of else "")}
    if not foreign:
        return {}
    heard = max(term for term, _ in foreign)
    if state.heard_term < heard <= min(state.term + TERMS_AHEAD, TERMS_HEARD):
        term = max(heard, state.term)
        turn.emit(ev.TermRaised(term + 1, heard, _next_draw(state), _proof(state, name, heard), turn.now))
    columns = zip(leases, draw_of, strict=True) if draw_of else ((lease, -1) for lease in leases)
    return {lease: None for lease, i in columns if (lease >> 32, i) in foreign}


def _is_ours(state: State, term: int, draw: str) -> bool:
    known = state.draws.get(term, "")
    return 0 <= term <= state.term and (not draw or not known or draw == known)


def _next_draw(state: State) -> str:
    return sha256(f"{state.draws.get(state.term, '')}/{state.term}".encode()).hexdigest()[:16]


def _proof(state: State, name: str, heard: int) -> str:
    what = f"term {heard}, which this home does not know" if heard > state.term else f"another term {heard} than this home's"
    return (
        f"worker {name} holds attempts of {what}: the home was restored from an older copy, or lost the end of its log. What those "
        "attempts come to is not taken. Runs that are missing now have to be submitted again"
    )
