"""What a pipeline would take: the core, under a clock of its own, with workers that only wait.

Pure: durations, latencies and the first moment are arguments. It must not know where recordings
come from, nor the chaos of `titan.sim`.
"""
