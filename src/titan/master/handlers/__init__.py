"""Message handlers of the master, by subject. The table of routes (`gateway.routes`) names them."""
