"""What several test suites use: peers, processes, certificates, fakes."""
