"""The process: its start, readiness, listeners and ordered end."""
