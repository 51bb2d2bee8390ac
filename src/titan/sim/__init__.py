"""The same core and worker machine as in production, under a virtual clock, network and disk, with
an oracle that knows what ran.

One seed draws everything: graphs, workers, durations, exit codes and faults. Never imports a shell.
"""
