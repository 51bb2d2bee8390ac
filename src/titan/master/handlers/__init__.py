"""Message handlers of the master, by subject. The routing table (`gateway.routes`) names them."""
