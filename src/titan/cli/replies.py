"""Replies of TitanStore for the terminal."""

from __future__ import annotations

from typing import Any


def json_value(reply: Any) -> Any:
    """Return the reply as JSON values. Bytes that are not UTF-8 become {"base64": ...}."""
    if isinstance(reply, bytes):
        try:
            return reply.decode()
        except UnicodeDecodeError:
            import base64

            return {"base64": base64.b64encode(reply).decode()}
    if isinstance(reply, dict):
        return {str(json_value(key)): json_value(value) for key, value in reply.items()}
    if isinstance(reply, (list, tuple, set)):
        return [json_value(item) for item in (sorted(reply) if isinstance(reply, set) else reply)]
    return reply


def lines(reply: Any) -> list[bytes]:
    """Return one line per item; a pair is one line."""
    if reply is None:
        return []
    if isinstance(reply, bytes):
        return [reply]
    if isinstance(reply, dict):
        return [b" ".join((*lines(key), *lines(value))) for key, value in reply.items()]
    if isinstance(reply, set):
        reply = sorted(reply)
    if isinstance(reply, (list, tuple)):
        return [b" ".join(lines(item)) if isinstance(item, (list, tuple)) else b"".join(lines(item)) for item in reply]
    return [str(reply).encode(errors="surrogateescape")]
