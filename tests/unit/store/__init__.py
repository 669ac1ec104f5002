"""Tests of ``provider_gateway.store``."""
