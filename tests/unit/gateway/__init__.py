"""Tests of ``provider_gateway.gateway``."""
