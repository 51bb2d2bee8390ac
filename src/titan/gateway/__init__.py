"""Between the core's words and the protocol's: pure, and the same for the master that ships and the
one that is simulated."""
