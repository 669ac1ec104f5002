"""Tests of ``provider_gateway.config``."""
