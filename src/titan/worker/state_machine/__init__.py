"""The pure state machine of a worker: inputs in, instructions out."""
