"""The result store: keeps the records of requests and their results, in SQLite or PostgreSQL."""
