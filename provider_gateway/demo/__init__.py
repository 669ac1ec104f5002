"""``--demo``: broker, sample model and gateway in one process."""
