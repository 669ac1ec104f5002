"""The AMQP 0-9-1 client: pika's Twisted adapter, with what it leaves to its user."""
