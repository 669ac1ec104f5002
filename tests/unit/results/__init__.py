"""Tests of ``provider_gateway.results``."""
