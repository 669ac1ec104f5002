"""What the project relies on in a broker: the same tests on RabbitMQ and on the embedded development broker."""
