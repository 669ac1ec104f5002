"""Tests of ``provider_gateway.message``."""
