"""History of finished runs in SQLite.

The package has the database, its check at a start, and its rebuild from the journal.
"""
