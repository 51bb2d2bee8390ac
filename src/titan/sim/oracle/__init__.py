"""Oracle of the simulator. It checks Titan's guarantees against the log and the simulated
processes."""
