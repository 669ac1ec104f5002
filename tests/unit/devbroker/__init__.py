"""Tests of ``provider_gateway.devbroker``."""
