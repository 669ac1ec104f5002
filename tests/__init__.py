"""Tests of provider-gateway, run with trial."""
