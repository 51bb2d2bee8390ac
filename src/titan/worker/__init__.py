"""A worker: it dials the master, runs attempts in sandboxes and loses none of their results. See
`machine`, `shell`."""
