"""Home of a master: its lock, its clock, and the detection of copied homes."""
