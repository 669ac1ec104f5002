"""provider-gateway: HTTPS and AMQP in, model out, in one Twisted process around RabbitMQ."""

__version__ = "0.2.0"
