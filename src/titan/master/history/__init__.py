"""History of finished runs in SQLite: the database, its check at a start, and its rebuild from the
journal."""
