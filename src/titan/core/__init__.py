"""The core: a pure state machine that decides everything in the master. Inputs come in, events are
decided and applied, effects go out. See ARCHITECTURE.md."""
