"""The asyncio shell round the core: sockets, clock, journal, logs and artifacts. It decides
nothing; see titan.core."""
