"""The state of the cluster: plain data and indexes. Only `core.apply` writes the state."""
