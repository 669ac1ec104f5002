"""Answers that can wait: requests are recorded, replies are stored, and whoever waits for one is told."""
