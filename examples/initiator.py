"""An initiator: publishes a request message to RabbitMQ and waits for the reply on its own queue. It needs only pika.

python examples/initiator.py amqp://demo:demo@127.0.0.1:5672/
"""

import sys
import uuid

import pika

connection = pika.BlockingConnection(pika.URLParameters(sys.argv[1]))
channel = connection.channel()
channel.confirm_delivery()  # from now on, basic_publish raises if the message is nacked or unrouted

reply_queue = channel.queue_declare("", exclusive=True).method.queue
correlation_id = str(uuid.uuid4())
channel.basic_publish(
    exchange="ML.MQ",
    routing_key="predict.now",
    body=b'{"data": [29, 29]}',
    properties=pika.BasicProperties(
        content_type="application/json",
        correlation_id=correlation_id,
        reply_to=reply_queue,
        delivery_mode=pika.DeliveryMode.Persistent,
    ),
    mandatory=True,
)
for _method, properties, body in channel.consume(reply_queue, auto_ack=True, inactivity_timeout=90):
    if properties is None:
        sys.exit("no reply within 90 s")
    if properties.correlation_id == correlation_id:
        print(f"status {properties.headers['pg-status']}: {body.decode()}")
        break
connection.close()
