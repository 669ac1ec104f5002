"""Exchanges, queues, routes and reply addresses of the queue file, as values."""
