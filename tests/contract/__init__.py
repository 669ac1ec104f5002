"""The broker behaviour that the project relies on: the same tests on RabbitMQ and on the embedded broker."""
