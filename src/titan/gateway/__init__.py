"""Translation between the core's inputs and effects and the protocol's messages. Pure, and shared
by the real and the simulated master."""
