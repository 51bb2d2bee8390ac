"""Records of each start of a master: the draw (random id) of its term, and notices for
operators."""

from __future__ import annotations

from titan.core.state.state import State

DRAWS_KEPT = 16
"""Number of latest draws to keep. Draws of terms with live leases are kept in addition."""
NOTICES_KEPT = 8


def keep_draw(state: State, term: int, draw: str) -> None:
    """Record the draw of a new term. Drop old draws, but keep the draw of each term from which a
    worker still holds a lease."""
    live = {lease >> 32 for w in state.workers.values() for lease in (*w.held, *w.ending, *w.retiring)}
    latest = sorted(state.draws)[-DRAWS_KEPT:]
    state.draws = {known: state.draws[known] for known in state.draws if known in live or known in latest}
    if draw:  # older journals have none
        state.draws[term] = draw


def keep_notice(state: State, at: float, text: str) -> None:
    if text:
        state.notices = [*state.notices[-NOTICES_KEPT + 1 :], (at, text)]
