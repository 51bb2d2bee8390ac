"""Encoding of a worker's orders to wardens and runners. A message is a 4-byte big-endian length and
`marshal.dumps(list_of_tuples, 4)`.

The worker uses `pack_orders`, and the warden and the runner use `take_orders`. The worker must not
use `take_orders`: unmarshalling is unsafe for bytes that code of users may have written. This
module imports nothing of Titan outside of this folder, because wardens and runners load it in an
interpreter that need not have Titan.
"""

import marshal

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

if TYPE_CHECKING or __package__:
    from titan.worker.isolated.reports import FRAME_BYTES
else:
    from reports import FRAME_BYTES


def take_orders(inbox: bytearray) -> "list[tuple[Any, ...]]":
    """Remove all complete messages from `inbox` and return their tuples in one list. Raises
    ValueError for an invalid message."""
    taken: list[tuple[Any, ...]] = []
    at = 0
    while len(inbox) - at >= 4:
        size = int.from_bytes(inbox[at : at + 4], "big")
        if size > FRAME_BYTES:
            raise ValueError(f"a message of {size} bytes exceeds the limit of {FRAME_BYTES}")
        if len(inbox) - at - 4 < size:
            break
        with memoryview(inbox) as whole:
            taken.extend(marshal.loads(whole[at + 4 : at + 4 + size]))
        at += 4 + size
    del inbox[:at]
    return taken


def pack_orders(entries: "list[tuple[Any, ...]]") -> bytes:
    body = marshal.dumps(entries, 4)
    return len(body).to_bytes(4, "big") + body
