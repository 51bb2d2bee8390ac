"""Comparison of Titan with its peers: all do the same work, one after the other, round by round, in
one run.

`workloads` defines what is measured, and `peers/` how each peer does the work. `host` is the
process in which a peer runs. `confine` keeps the peer on this machine and ends it. `runner` runs
the turns, and `report` writes the results.
"""
