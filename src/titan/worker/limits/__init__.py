"""Resource limits of attempts: control groups."""
