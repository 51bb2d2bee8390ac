"""Worker: it connects to the master, runs attempts in sandboxes and loses none of their results.
See `state_machine.machine` and `shell`."""
