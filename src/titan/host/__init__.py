"""The machine of a process: clock, locks, folders, core dumps, and privacy from other users."""
