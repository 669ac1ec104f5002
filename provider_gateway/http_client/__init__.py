"""An HTTP/1.1 client below treq. It knows no model and no message."""
