"""The workbench in a real browser: Chromium against a real demo, by plain HTTP and by mutual TLS."""
