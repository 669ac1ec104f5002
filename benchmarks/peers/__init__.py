"""Peers that the gateway is compared with; each runs in its own virtual environment."""
