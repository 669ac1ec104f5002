"""Tests of ``provider_gateway.provider``."""
