"""The brain: pure. Inputs come in, events are decided and applied, effects go out. See
ARCHITECTURE.md."""
