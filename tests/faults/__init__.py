"""Tests with faults of the network between the gateway and what it talks to."""
