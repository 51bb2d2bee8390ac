"""Finished runs in SQLite: the database, its check at a start, and its rebuilding from the journal."""
