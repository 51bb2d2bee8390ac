"""The worker's side of its wardens and runners: links to them, and the processes under each."""
