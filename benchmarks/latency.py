"""``make latency``: how long a single request takes, end to end, with an idle gateway and a model that answers at once.

One client, one mTLS connection, one request at a time: HTTPS → RabbitMQ (TLS, confirms, persistent) → model → back.
"""

from __future__ import annotations

import http.client
import ssl
import statistics
import time
from contextlib import ExitStack

from benchmarks.alone import start_alone
from devtools.processes import CERTS, HTTP_PORT

WARM_UP, COUNT = 100, 1000
BODY = b'{"data": [29, 29]}'
HEADERS = {"Content-Type": "application/json", "routing-key": "predict.now"}


def measure() -> list[float]:
    """Milliseconds of each request."""
    context = ssl.create_default_context(cafile=CERTS / "cacert.pem")
    context.load_cert_chain(CERTS / "client_cert.pem", CERTS / "client_key.pem")
    connection = http.client.HTTPSConnection("localhost", int(HTTP_PORT), context=context)
    taken = []
    for _ in range(WARM_UP + COUNT):
        started = time.perf_counter()
        connection.request("POST", "/v1/predict", BODY, HEADERS)
        response = connection.getresponse()
        body = response.read()
        taken.append((time.perf_counter() - started) * 1000)
        if response.status != 200:
            raise SystemExit(f"unexpected response {response.status}: {body.decode()}")
    return taken[WARM_UP:]


def main() -> None:
    """Start everything, measure, print."""
    with ExitStack() as stack:
        start_alone(stack, "latency")
        taken = sorted(measure())
    p95, p99 = taken[int(COUNT * 0.95)], taken[int(COUNT * 0.99)]
    print(f"{COUNT} requests, one at a time: median {statistics.median(taken):.2f} ms, p95 {p95:.2f}, p99 {p99:.2f}")


if __name__ == "__main__":
    main()
