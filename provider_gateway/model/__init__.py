"""Calls of the model over HTTP."""
