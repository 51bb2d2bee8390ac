"""Fencing: distinguishes leases in this home's recorded history from leases of another history.

Each start of a master begins a term and generates a random id, the draw, for it. A home that was
restored from an older copy, or that lost the end of its log, uses a term number again. It then also
uses the same lease numbers and job numbers again. The draws of the two terms differ. So a lease is
valid only if its draw is the one that this home recorded for the lease's term.

A worker may hold a lease with another draw, or with a term later than this home's newest one. That
proves that this home lost a part of its history. The master then begins a term that no worker
knows.
"""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import sha256

from titan.core.events import events as ev
from titan.core.state.state import State
from titan.core.turn import Turn

TERM_LEAP = 1024
"""Number of terms that a home skips if it is known to be a copy. The original home may have begun
as many terms since the copy was made."""
TERMS_AHEAD = 1 << 20
"""A lease whose term is further ahead than this proves nothing: nobody starts a master a million
times."""
TERMS_HEARD = 1 << 30
"""A lease raises this home's term only if the lease's term is at most this. Numbers of leases and
jobs have 31 bits for the term."""


def term_floor(state: State, *, copied: bool) -> int:
    """Return the term that the next one must exceed. `copied`: the home is known to be a copy."""
    return state.term + (TERM_LEAP if copied else 0)


def fence_foreign(turn: Turn, name: str, leases: Sequence[int], draws: Sequence[str], draw_of: Sequence[int]) -> dict[int, None]:
    """Return the leases of worker `name` that this home did not give out. Begin a new term if there
    are any.

    Lease i was given under `draws[draw_of[i]]`. An empty draw, or empty `draws` and `draw_of`,
    means that the worker does not report draws.
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
