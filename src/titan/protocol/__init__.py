"""TITAN_PROTO: frames, messages, handshake. Pure and sans-IO: bytes in, messages out.
docs/protocol.md is the specification."""
