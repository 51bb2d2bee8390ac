"""What the state keeps of the starts of masters: the draw of each term that matters, and what
operators are to be told."""

from __future__ import annotations

from titan.core.state.state import State

DRAWS_KEPT = 16
"""Draws of the latest terms that are kept, besides those of which a worker may still hold a lease.
"""
NOTICES_KEPT = 8


def keep_draw(state: State, term: int, draw: str) -> None:
    """Notes the draw of a term that begins, and forgets those that no lease can carry any more."""
    live = {lease >> 32 for w in state.workers.values() for lease in (*w.held, *w.ending, *w.retiring)}
    latest = sorted(state.draws)[-DRAWS_KEPT:]
    state.draws = {known: state.draws[known] for known in state.draws if known in live or known in latest}
    if draw:  # there is none in journals of old
        state.draws[term] = draw


def keep_notice(state: State, at: float, text: str) -> None:
    if text:
        state.notices = [*state.notices[-NOTICES_KEPT + 1 :], (at, text)]
