"""The console script ``provider-gateway``: parking queues on the command line."""
