"""Placement of jobs: lanes of ready jobs, the pool of workers by load, and the match between them.
The package is pure: no I/O, no clock."""
