"""An AMQP 0-9-1 broker in memory, for the demo and unit tests only. Uses pika's codec."""
