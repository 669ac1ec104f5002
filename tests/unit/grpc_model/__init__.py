"""Tests of ``provider_gateway.grpc_model``."""
