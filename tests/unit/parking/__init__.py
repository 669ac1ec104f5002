"""Tests of the engine of parking queues."""
