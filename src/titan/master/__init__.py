"""Asyncio shell around the core: sockets, clock, journal, logs and artifacts.

`titan.core` makes all decisions.
"""
