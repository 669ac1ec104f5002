"""Tests of ``provider_gateway.net``."""
