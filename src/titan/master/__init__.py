"""Asyncio shell around the core: sockets, clock, journal, logs and artifacts.

All decisions are made by `titan.core`.
"""
