"""Tests of ``provider_gateway.workers``."""
