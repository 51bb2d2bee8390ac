"""Prediction of a pipeline's duration: the core with a simulated clock and simulated workers.

The package is pure: durations, latencies and the start time are arguments. It must not know where
recordings come from, and it simulates none of the faults of `titan.sim`.
"""
