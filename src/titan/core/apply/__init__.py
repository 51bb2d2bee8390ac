"""Writers of the state, by subject: the only code that changes it, live and in recovery."""
