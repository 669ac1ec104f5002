"""The AMQP 0-9-1 client: pika's Twisted adapter, and what pika leaves to its user."""
