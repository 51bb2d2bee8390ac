"""Events: facts that were decided, as the journal holds them."""
