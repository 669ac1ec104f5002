"""Tests of provider_gateway.openapi."""
