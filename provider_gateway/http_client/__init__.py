"""An HTTP/1.1 client below treq."""
