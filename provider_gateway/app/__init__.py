"""The process: start, readiness, listeners, ``--check`` and drain."""
