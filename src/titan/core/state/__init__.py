"""The state of the cluster: plain data and the indexes over it. Only `core.apply` writes it."""
