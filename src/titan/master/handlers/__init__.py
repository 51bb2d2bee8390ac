"""Message handlers of the master, one module for each subject.

The routing table (`gateway.routes`) maps each message to a handler.
"""
