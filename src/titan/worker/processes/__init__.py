"""The worker's side of its wardens and runners: the links to them, and the choice of a warden for
each process."""
