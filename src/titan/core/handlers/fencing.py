"""Fencing: distinguishes leases in this home's recorded history from leases of another history.

Each start of a master begins a term and generates a random id for the term, the draw. A home that
was restored from an older copy, or that lost the end of its journal, uses a term number a second
time, and with it the same lease numbers and job numbers. The draws of the two terms differ. So a
lease is valid only if its draw is the draw that this home recorded for the lease's term.

If a worker holds a lease with another draw, or with a term later than this home's newest term, then
this home has lost a part of its history. The master then begins a term that no worker knows.
"""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import sha256

from titan.core.events import events as ev
from titan.core.state.state import State
from titan.core.turn import Turn

TERM_LEAP = 1024
"""Number of terms that a home skips if it is known to be a copy. The original home may have begun
up to this many terms since the copy was made."""
TERMS_AHEAD = 1 << 20
"""A lease whose term is further ahead than this number is taken for an error and proves nothing,
because nobody starts a master a million times."""
TERMS_HEARD = 1 << 30
"""Highest term of a lease that can raise this home's term. Numbers of leases and jobs have 31 bits
for the term."""


def term_floor(state: State, *, copied: bool) -> int:
    """Return the number that the next term must exceed. `copied`: the home is known to be a
    copy."""
    return state.term + (TERM_LEAP if copied else 0)


def fence_foreign(turn: Turn, name: str, leases: Sequence[int], draws: Sequence[str], draw_of: Sequence[int]) -> dict[int, None]:
    """Return the leases of worker `name` that this home did not issue. If they prove a loss of
    history that was not known, begin a new term.

    Lease i was issued under the draw `draws[draw_of[i]]`. An empty draw, or empty `draws` and
    `draw_of`, means that the worker does not report draws.
    """
    state = turn.state
    held = {(lease >> 32, i) for lease, i in zip(leases, draw_of, strict=True)} if draw_of else {(n >> 32, -1) for n in leases}
    foreign = {pair for pair in held if not _is_ours(state, pair[0], draws[pair[1]] if draw_of else "")}
    if not foreign:
        return {}
    latest = max(term for term, _ in foreign)
    if state.heard_term < latest <= min(state.term + TERMS_AHEAD, TERMS_HEARD):
        term = max(latest, state.term)
        turn.emit(ev.TermRaised(term + 1, latest, _next_draw(state), _proof(state, name, latest), turn.now))
    columns = zip(leases, draw_of, strict=True) if draw_of else ((lease, -1) for lease in leases)
    return {lease: None for lease, i in columns if (lease >> 32, i) in foreign}


def _is_ours(state: State, term: int, draw: str) -> bool:
    known = state.draws.get(term, "")
    return 0 <= term <= state.term and (not draw or not known or draw == known)


def _next_draw(state: State) -> str:
    return sha256(f"{state.draws.get(state.term, '')}/{state.term}".encode()).hexdigest()[:16]


def _proof(state: State, name: str, term: int) -> str:
    text = (
        f"term {term}, which this home does not know" if term > state.term else f"a term {term} that is not this home's term {term}"
    )
    return (
        f"worker {name} holds attempts of {text}: the home was restored from an older copy, or lost the end of its log. "
        "The results of those attempts are ignored. Submit missing runs again"
    )
