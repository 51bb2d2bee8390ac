"""Connections: TITAN_PROTO over asyncio, memory limits over all peers, and reconnecting with
back-off."""
