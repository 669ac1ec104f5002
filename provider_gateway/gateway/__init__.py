"""The gateway role: HTTPS requests become request messages, replies become responses."""
