"""A consumer of your own behind the gateway role: takes request messages, and replies to reply_to. It needs only pika.

python examples/worker.py amqp://demo:demo@127.0.0.1:5672/ QUEUE
"""

import json
import sys

import pika

channel = pika.BlockingConnection(pika.URLParameters(sys.argv[1])).channel()
channel.confirm_delivery()
channel.basic_qos(prefetch_count=10)
print("ready", flush=True)
for method, properties, body in channel.consume(sys.argv[2]):
    answer = json.dumps({"worker": json.loads(body)}).encode()
    reply = pika.BasicProperties(correlation_id=properties.correlation_id, content_type="application/json")
    channel.basic_publish("", properties.reply_to, answer, reply)
    channel.basic_ack(method.delivery_tag)
