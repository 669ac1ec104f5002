"""Tests of ``provider_gateway.http_server``."""
