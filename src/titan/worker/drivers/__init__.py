"""Drivers: each starts, stops and watches attempts of one sort. The template of an attempt selects
its driver.

The names and their jobs are in `titan.model.drivers`. `table.CLASSES` has the class behind each
name. A driver of attempts is an `AttemptDriver` of `protocol`. The function driver is a plain
`Driver` that follows instructions of the state machine: calls come in batches, for runner processes
that the state machine numbers, and a call has no process of its own.

| job | driver | runs |
| --- | --- | --- |
| `function` | function | in a runner process, which executes many calls in turn |
| `service` | service | by the driver of its program, restarted as needed |
| `x.py` | python | in a fork of a warm interpreter: the worker's, or that of `python` |
| `x.py`, `driver: process` | process | that interpreter, started anew |
| `x.jar` | process | java -jar |
| `x.sh` | process | the interpreter of its first line, or /bin/sh |
| another file | process | the file itself |
| `command` | process | /bin/sh -c, the arguments as $1, $2, ... |
| `argv` | process | as it is |
"""
