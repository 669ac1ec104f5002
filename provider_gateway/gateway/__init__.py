"""The gateway role: HTTPS requests become messages, replies become answers."""
