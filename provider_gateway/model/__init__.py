"""Calls of the model."""
