"""Benchmarks: they measure, and test nothing."""
