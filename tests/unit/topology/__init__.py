"""Tests of ``provider_gateway.topology``."""
