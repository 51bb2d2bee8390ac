"""Drivers: how an attempt is started, stopped and watched. Which one it is depends on what its template says.

A driver is a class of `protocol.Driver` and a row of `table.ROWS`; the first row that fits a template has it. Functions are the
exception. Their calls come in batches, for runner processes that the machine numbers, and no call has a process of its own. So
`function.FunctionDriver` takes its orders from the machine. It shares with the others how its processes start and report.

| what | driver | runs |
| --- | --- | --- |
| `function` | function | in a runner process, many calls one after another |
| `service` | service | by the driver of what it executes, again and again |
| `x.py` | python | in a fork of a warm interpreter: the worker's own, or the one that `python` names |
| `x.py`, `driver: process` | process | that interpreter, started anew |
| `x.jar` | process | java -jar |
| `x.sh` | process | the script by its first line, or /bin/sh |
| another file | process | the file itself |
| `command` | process | /bin/sh -c, the arguments as $1, $2, ... |
| `argv` | process | as it is |
"""
