"""Tests of ``provider_gateway.amqp``."""
