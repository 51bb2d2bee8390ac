"""Handlers of inputs: each decides on events and effects for one subject."""
