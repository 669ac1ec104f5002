"""Shared by several test suites: peers, processes, certificates, fakes."""
