"""Drivers of a worker. Each driver starts, stops and watches one sort of attempts. The template of
an attempt selects the driver.

`titan.model.drivers` has the names of the drivers and selects one for a job. `table.CLASSES` has
the class for each name. Most drivers are an `AttemptDriver` (see `protocol`). The function driver
is a plain `Driver`, which only follows instructions of the state machine. A call has no process of
its own: the state machine assigns calls in batches to numbered runner processes.

| job | driver | runs |
| --- | --- | --- |
| `function` | function | in a runner process, which executes many calls in turn |
| `service` | service | by the driver of its program, restarted as needed |
| `x.py` | python | in a fork of a warm interpreter: the worker's, or that of `python` |
| `x.py`, `driver: process` | process | a new process of that interpreter |
| `x.jar` | process | java -jar |
| `x.sh` | process | the interpreter of its first line, or /bin/sh |
| another file | process | the file itself |
| `command` | process | /bin/sh -c, the arguments as $1, $2, ... |
| `argv` | process | as it is |
"""
