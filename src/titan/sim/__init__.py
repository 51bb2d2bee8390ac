"""Simulator: the production core and the production state machine of workers, with a virtual clock,
network and disk.

An oracle observes all simulated processes and checks Titan's guarantees. The seed of a random
generator determines everything: graphs, workers, durations, exit codes and faults. The simulator
must not import a shell, the code that uses real sockets, disks and clocks.
"""
