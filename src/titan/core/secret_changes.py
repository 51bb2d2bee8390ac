"""Who set and removed secrets. The vault has the secrets themselves; the core keeps the record, and answers once it is durable."""

from __future__ import annotations

from titan.core import effects as fx
from titan.core import events as ev
from titan.core.inputs import SecretWritten
from titan.core.turn import Turn


def on_secret_written(turn: Turn, seen: SecretWritten) -> None:
    turn.emit(ev.SecretChanged(seen.name, seen.version, turn.now, turn.actor))
    turn.order(fx.ReplySecretChanged(seen.origin, seen.request, seen.name, seen.version, seen.set_at))
