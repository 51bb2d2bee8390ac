"""Handlers of inputs. Each module decides on events and effects for one subject."""
