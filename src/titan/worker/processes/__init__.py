"""The worker's side of its wardens and runners: links to them, and which attempt is under which."""
