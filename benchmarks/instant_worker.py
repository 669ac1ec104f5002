"""An AMQP worker that costs little: it replies to each message of a queue at once. Prints a line when it consumes.

It takes deliveries without acknowledgement, and decodes of a message only what its reply needs. With a routing key, it
declares the queue and its binding; without one, the subject has done so.

    python -m benchmarks.instant_worker PORT QUEUE [ROUTING_KEY]
"""

from __future__ import annotations

import sys

from pika import frame, spec

from benchmarks.amqp_wire import CHANNEL, Wire
from benchmarks.initiator import EXCHANGE

ANSWER = b'{"result": 42}'
_BODY = frame.Body(CHANNEL, ANSWER).marshal()


def reply(request: spec.BasicProperties) -> bytes:
    """The frames of a reply, as a worker sends them that knows ``correlation_id`` and ``reply_to`` only."""
    properties = spec.BasicProperties(
        content_type="application/json", delivery_mode=2, correlation_id=request.correlation_id
    )
    publish = spec.Basic.Publish(exchange="", routing_key=request.reply_to)
    head = frame.Header(CHANNEL, len(ANSWER), properties)
    return b"".join((frame.Method(CHANNEL, publish).marshal(), head.marshal(), _BODY))


def main() -> None:
    """Consume until the process is ended."""
    port, queue, *keys = sys.argv[1:]
    wire = Wire(int(port))
    if keys:
        wire.call(spec.Exchange.Declare(exchange=EXCHANGE, type="topic", durable=True))
        wire.call(spec.Queue.Declare(queue=queue, durable=True))
        wire.call(spec.Queue.Bind(queue=queue, exchange=EXCHANGE, routing_key=keys[0]))
    wire.call(spec.Queue.Purge(queue=queue))
    wire.call(spec.Basic.Consume(queue=queue, no_ack=True))
    print("consuming", flush=True)
    for each in wire.frames():
        if isinstance(each, frame.Header):
            wire.send(reply(each.properties))


if __name__ == "__main__":
    main()
