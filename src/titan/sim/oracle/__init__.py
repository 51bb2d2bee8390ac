"""The oracle of the simulator: checks Titan's promises against the log and the real processes."""
