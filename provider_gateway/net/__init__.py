"""TCP and TLS connections, below all protocols."""
