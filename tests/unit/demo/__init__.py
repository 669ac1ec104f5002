"""Tests of ``provider_gateway.demo``."""
