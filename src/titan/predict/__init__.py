"""Prediction of a pipeline's duration: the core with a simulated clock and simulated workers.

Pure: durations, latencies and the start time are arguments. It must not know where recordings come
from, nor the faults of `titan.sim`.
"""
