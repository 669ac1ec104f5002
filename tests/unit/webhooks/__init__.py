"""Tests of ``provider_gateway.webhooks``."""
