"""Drivers: how an attempt is started, stopped and watched. Which one it is depends on what its template says.

A driver is a class of `protocol.Driver` and a row of `table.ROWS`; the first row that fits a template has it.

| what | driver | runs |
| --- | --- | --- |
| `function` | function | in a runner process, see `function` |
| `service` | service | by the driver of what it executes, again and again |
| `x.py` | python | in a fork of a warm interpreter: the worker's own, or the one that `python` names |
| `x.py`, `driver: process` | process | that interpreter, started anew |
| `x.jar` | process | java -jar |
| `x.sh` | process | the script by its first line, or /bin/sh |
| another file | process | the file itself |
| `command` | process | /bin/sh -c, the arguments as $1, $2, ... |
| `argv` | process | as it is |
"""
