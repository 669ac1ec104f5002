"""Tests of ``provider_gateway.model``."""
