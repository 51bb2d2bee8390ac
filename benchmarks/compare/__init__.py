"""Titan beside its peers: the same work, one peer after the other, round by round, in one run.

`workloads` says what is measured, `peers/` how each peer does it, `host` is the process in which a
peer runs, `confine` what keeps it on this machine and ends it, `runner` takes the turns, `report`
writes what was found.
"""
