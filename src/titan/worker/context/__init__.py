"""Requests of running jobs to their worker: the context socket, the run's store, reports,
values."""
