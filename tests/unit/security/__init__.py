"""Tests of ``provider_gateway.security``."""
