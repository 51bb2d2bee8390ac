"""TitanStore in a server: sessions, the port for Redis clients, and the cluster's state as keys."""
