"""The oracle of the simulator: what was promised, judged against what really ran and what the log
says."""
