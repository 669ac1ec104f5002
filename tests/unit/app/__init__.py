"""Tests of ``provider_gateway.app``."""
