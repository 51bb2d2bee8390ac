"""Webhooks of gates: delivery, signing secret, and permitted addresses."""
