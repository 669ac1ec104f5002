"""Webhooks: endpoints of callers are told when a request is final (Standard Webhooks 1.0)."""
