"""What the queue file means at the broker: its objects, routes and reply addresses, as values."""
