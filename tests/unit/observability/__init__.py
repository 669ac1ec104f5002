"""Tests of ``provider_gateway.observability``."""
