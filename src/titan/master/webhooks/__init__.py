"""Webhooks of gates: delivery, the secret that signs them, and the addresses they may reach."""
