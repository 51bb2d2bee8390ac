"""TITAN_PROTO: frames, messages, handshake. The package does no I/O: bytes in, messages out.
docs/protocol.md is the specification."""
