"""The engine of parking queues: look into them, send their messages again, drop them. The broker is the only truth."""
