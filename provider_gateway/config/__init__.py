"""Settings and files of the user, read and validated."""
