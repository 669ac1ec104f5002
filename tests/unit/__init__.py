"""Tests without network: pure functions, fakes of time and transport."""
