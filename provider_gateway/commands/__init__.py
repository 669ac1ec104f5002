"""The console script ``provider-gateway``: commands for people and for scripts, on parking queues above all."""
