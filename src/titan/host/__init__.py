"""The machine that a process runs on: its clock, locks, folders, core dumps, and privacy from other
users."""
