"""What measures; nothing here is a test."""
