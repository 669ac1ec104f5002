"""TCP and TLS connections, below every protocol."""
