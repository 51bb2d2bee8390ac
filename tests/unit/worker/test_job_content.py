"""Content that a job sends to the master through its worker fits into one message of each
connection on the way."""

from __future__ import annotations

from titan.protocol import messages as msg
from titan.protocol.codec import MessageDecoder, Received, encode
from titan.sdk.additions import MAX_FILE
from titan.worker.context.requests import FRAME_BYTES


def test_the_largest_file_that_a_job_may_add_a_job_with_passes() -> None:
    it, data = msg.SendFile(1, "", MAX_FILE, "0" * 64), bytes(MAX_FILE)
    (item,) = MessageDecoder(FRAME_BYTES, FRAME_BYTES).receive_data(encode(it, data))
    assert isinstance(item, Received) and len(item.blob) == it.size <= msg.FILE_WINDOW
