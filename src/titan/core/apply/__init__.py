"""Writers of the state, by subject: the only code that changes the state, live and in recovery."""
