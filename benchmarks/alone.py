"""The gateway with a private broker and a model that costs nothing, for benchmarks that measure it alone."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

from devtools.processes import CERTS, FOLDER, start, start_gateway
from devtools.rabbitmq import RabbitMQ
from provider_gateway.demo.certificates import certificates

if TYPE_CHECKING:
    from contextlib import ExitStack


def start_alone(stack: ExitStack, name: str) -> None:
    """Start broker, model and gateway; they end with the stack.

    Args:
        name: name of the benchmark, used for the broker's folder.
    """
    certificates(CERTS)
    broker = RabbitMQ(FOLDER / f"rabbitmq-{name}", CERTS)
    stack.callback(broker.stop)
    broker.start()
    model = start(
        stack, [sys.executable, "-m", "benchmarks.instant_model"], FOLDER / "instant_model.log", dict(os.environ)
    )
    assert model.stdout is not None
    start_gateway(stack, broker, model.stdout.readline().strip())
