"""What a worker says to the processes beside users' code: a 4-byte big-endian length and
`marshal.dumps(list_of_tuples, 4)`.

`pack_orders` is the worker's half, `take_orders` that of the warden and of the runner, and theirs
alone: what unmarshals must not read what users' code may have written. It imports nothing of Titan,
as it is loaded by both of these from beside their files.
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
    """Cut all complete messages off `inbox`; returns their tuples in one list. Raises ValueError
    for what is no message."""
    taken: list[tuple[Any, ...]] = []
    at = 0
    while len(inbox) - at >= 4:
        size = int.from_bytes(inbox[at : at + 4], "big")
        if size > FRAME_BYTES:
            raise ValueError(f"a message of {size} bytes; the limit is {FRAME_BYTES}")
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
