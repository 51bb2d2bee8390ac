"""Translation between the core's inputs and effects and the protocol's messages. The package is
pure; the real and the simulated master share it."""
