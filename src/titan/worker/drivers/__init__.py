"""Drivers: how an attempt is started, stopped and watched. Which one it is depends on what its
template says.

The names, and which jobs each has, are in `titan.model.drivers`; `table.CLASSES` has the class
behind each. A driver of attempts is an `AttemptDriver` of `protocol`. Calls come in batches, for
runner processes that the machine numbers, and no call has a process of its own: so the function
driver is a plain `Driver`, which follows orders of the machine.

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
