"""What the gateway is measured against; each runs in a virtual environment of its own."""
