"""The dashboard: an HTTP API for browsers and programs, in a process of its own.

It is a client of the master like any other, so a slow browser never slows the master. Needs the
extra `dashboard`: `pip install 'titan-orchestrator[dashboard]'`.
"""
