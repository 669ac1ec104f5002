"""What the demo and the tests start around provider-gateway; not part of the installed package."""
