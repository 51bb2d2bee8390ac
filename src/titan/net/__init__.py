"""Connections: TITAN_PROTO over asyncio, memory budgets shared by all peers, and back-off."""
