"""``WORKERS``: several processes that share the listening port, to use several cores, and their supervisor."""
