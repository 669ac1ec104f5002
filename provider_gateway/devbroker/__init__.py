"""A small AMQP 0-9-1 broker in memory, for development and unit tests only, on pika's codec."""
