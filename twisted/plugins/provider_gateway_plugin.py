"""Makes ``twistd provider-gateway`` known to Twisted; imports nothing of the package until it is chosen."""

from twisted.application.service import ServiceMaker

provider_gateway = ServiceMaker(
    "provider-gateway",
    "provider_gateway.tap",
    "HTTPS and AMQP in, machine-learning model out, over RabbitMQ.",
    "provider-gateway",
)
