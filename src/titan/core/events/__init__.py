"""Events: decided facts, in the form in which the journal holds them."""
