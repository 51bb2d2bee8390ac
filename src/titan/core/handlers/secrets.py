"""Record of the actors that set and removed secrets. The vault has the secrets themselves; the core
journals who changed which secret, and answers once the record is durable."""

from __future__ import annotations

from titan.core import effects as fx
from titan.core.events import events as ev
from titan.core.inputs import SecretWritten
from titan.core.turn import Turn


def on_secret_written(turn: Turn, received: SecretWritten) -> None:
    turn.emit(ev.SecretChanged(received.name, received.version, turn.now, turn.actor))
    turn.order(fx.ReplySecretChanged(received.origin, received.request, received.name, received.version, received.set_at))
