"""What running jobs ask of their worker: the context socket, the run's store, reports and values."""
