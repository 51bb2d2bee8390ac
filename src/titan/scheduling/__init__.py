"""Who runs what: queues of ready jobs, workers by load, and the match between them. Pure."""
