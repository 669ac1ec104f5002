"""One message as a value: its ids, headers, properties and copies."""
