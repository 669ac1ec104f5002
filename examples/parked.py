"""Shows the messages of a parking queue, and leaves them there. It needs only pika.

    python examples/parked.py amqps://localhost:5671/ CERTS QUEUE

CERTS is a folder with cacert.pem, client_cert_mq.pem and client_key_mq.pem: the certificate is the login.
"""

import ssl
import sys

import pika

url, certs, queue = sys.argv[1:]
context = ssl.create_default_context(cafile=f"{certs}/cacert.pem")
context.load_cert_chain(f"{certs}/client_cert_mq.pem", f"{certs}/client_key_mq.pem")
parameters = pika.URLParameters(url)
parameters.ssl_options = pika.SSLOptions(context, parameters.host)
parameters.credentials = pika.credentials.ExternalCredentials()
with pika.BlockingConnection(parameters) as connection:
    channel = connection.channel()
    while True:
        method, properties, body = channel.basic_get(queue)
        if method is None:
            break
        for name in ("RqUID", "pg-reason", "pg-attempt", "pg-parked-at", "pg-model-error"):
            print(f"{name}: {(properties.headers or {}).get(name)}")
        print(f"{properties.content_type}, {len(body)} bytes: {body[:200]!r}")
    # What was got is not acknowledged: when the connection ends, it is in the queue as before.
