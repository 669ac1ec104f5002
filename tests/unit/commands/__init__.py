"""Tests of provider_gateway.commands."""
