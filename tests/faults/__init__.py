"""Tests of delivery while broker, network, model or processes fail."""
