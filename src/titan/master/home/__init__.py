"""The home of a master: its lock, its clock, and whether it is a copy of another's."""
