"""Large bodies: memory and answers with many of them at a time, and what a small request beside a large one waits.

    python -m benchmarks.large_bodies [--callers N] [--megabytes N] [--prefetch N] [--only PART]

Gateway and provider are processes of their own, with a private RabbitMQ and default limits. The model answers each
request with as many bytes as it was sent.

1. All callers send at once. A caller that is told to come back later does so after a second, until it is answered.
   The peak of resident memory is that of each process, beside the figure that docs/openshift.md gives.
2. As many messages wait in the queue, and the model takes 3 s for each.
3. One caller sends one body of each kind that is slow to check. Another process sends small requests all the time: to
   /health, which waits for the gateway's reactor alone, and to /v1/predict, which shares queue and connections with it.
"""

from __future__ import annotations

import argparse
import http.client
import json
import select
import ssl
import statistics
import subprocess
import sys
import threading
import time
from collections import Counter
from contextlib import ExitStack, suppress
from typing import TYPE_CHECKING

import pika

from benchmarks import usage
from benchmarks.json_bodies import texts
from benchmarks.slow_clients import tls
from benchmarks.testbed import start_model, start_testbed
from devtools.ports import free_ports
from devtools.processes import CERTS, FOLDER, start_gateway
from devtools.rabbitmq import PASSWORD, USER, RabbitMQ
from provider_gateway.config.limits import Limits

if TYPE_CHECKING:
    from benchmarks.testbed import Testbed

_HEADERS = {"Content-Type": "application/json", "routing-key": "predict.now"}
_TIMEOUT = 200
_MEGABYTE = 1_000_000
_REPLIES = "large.out"
#: MB by the sizing page.
_SIZING = {"gateway": 650, "provider": 550}
#: Messages that wait in the queue.
_WAITING = 60
#: Seconds that the small requests are measured for.
_SECONDS = 4.0


def post(port: int, context: ssl.SSLContext, body: bytes) -> tuple[str, int]:
    """Send one request on a connection of its own.

    Returns:
        The status, with the problem's name if there is one, and the size of the answer.
    """
    connection = http.client.HTTPSConnection("localhost", port, context=context, timeout=_TIMEOUT)
    try:
        with suppress(BrokenPipeError, ConnectionResetError, ssl.SSLError):  # rejected early: the response is there
            connection.request("POST", "/v1/predict", body, _HEADERS)
        response = connection.getresponse()
        answer = response.read()
    finally:
        connection.close()
    if response.status < 400:
        return str(response.status), len(answer)
    return f"{response.status} {json.loads(answer)['type'].rpartition(':')[2]}", len(answer)


class Crowd:
    """Callers that all send at once."""

    def __init__(self, port: int, body: bytes) -> None:
        self.statuses: Counter[str] = Counter()
        self.sizes: set[int] = set()
        self._port = port
        self._body = body
        self._context = tls()

    def _call(self) -> None:
        while True:
            try:
                status, size = post(self._port, self._context, self._body)
            except (OSError, http.client.HTTPException) as error:
                status, size = f"no answer: {type(error).__name__}", 0
            self.statuses[status] += 1
            if status == "200":
                self.sizes.add(size)
            if not status.startswith(("503 too-many", "no answer")):
                return
            time.sleep(1)

    def call(self, callers: int) -> float:
        """Send; returns the seconds until the last one is answered."""
        threads = [threading.Thread(target=self._call) for _ in range(callers)]
        started = time.monotonic()
        for each in threads:
            each.start()
        for each in threads:
            each.join()
        return time.monotonic() - started


def probe(port: int) -> None:
    """Send small requests to both routes until standard input ends; print the milliseconds that each took, as JSON."""
    connection = http.client.HTTPSConnection("localhost", port, context=tls(), timeout=_TIMEOUT)
    taken: dict[str, list[float]] = {"/health": [], "/v1/predict": []}
    while not select.select([sys.stdin], [], [], 0.002)[0]:
        for path, each in taken.items():
            started = time.perf_counter()
            if path == "/health":
                connection.request("GET", path)
            else:
                connection.request("POST", path, b'{"data": [29, 29]}', _HEADERS)
            connection.getresponse().read()
            each.append((time.perf_counter() - started) * 1000)
    print(json.dumps(taken))


def beside(port: int, body: bytes | None) -> tuple[dict[str, list[float]], str]:
    """Small requests while large ones are sent, one after another.

    Returns:
        Milliseconds of the small ones, sorted, by path; and the last status of the large ones.
    """
    command = [sys.executable, "-m", "benchmarks.large_bodies", "--probe", str(port)]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    context, status, until = tls(), "-", time.monotonic() + _SECONDS
    while time.monotonic() < until:
        if body is None:
            time.sleep(0.1)
        else:
            status, _ = post(port, context, body)
            time.sleep(0.3)
    said, _ = process.communicate("")
    return {path: sorted(each) for path, each in json.loads(said).items()}, status


def start_pair(stack: ExitStack, bed: Testbed, model: str, prefetch: int) -> tuple[int, int, int]:
    """Start gateway and provider; returns the HTTPS port and both process ids."""
    queues = FOLDER / "bench/large.yaml"
    queues.write_text(
        f'- {{topic: ML.MQ, queueName: large, bindingKey: "predict.*", replyTo: {_REPLIES}, prefetch: {prefetch}}}\n'
    )
    pids = []
    port = 0
    for role in ("gateway", "provider"):
        port_, admin = free_ports(2)
        settings = {"HTTP_PORT": str(port_), "ADMIN_PORT": str(admin), "QUEUES_CONF": str(queues)}
        process = start_gateway(stack, bed.broker, model, f"bench/large-{role}", ["--role", role], **settings)
        pids.append(process.pid)
        port = port or port_
    return port, pids[0], pids[1]


def print_crowd(port: int, pids: dict[str, int], body: bytes, callers: int) -> None:
    """Part 1."""
    crowd = Crowd(port, body)
    seconds = crowd.call(callers)
    print(f"  answered after {seconds:.1f} s: {dict(crowd.statuses)}, sizes {crowd.sizes}")
    for name, pid in pids.items():
        print_peak(name, pid)


def print_peak(name: str, pid: int) -> None:
    """The most memory that a process had."""
    peak = usage.memory(pid).peak * 1024 / _MEGABYTE
    print(f"  {name}: peak of {peak:.0f} MB; the sizing page says at most {_SIZING[name]} MB", flush=True)


def print_queue(broker: RabbitMQ, pid: int, size: int) -> None:
    """Part 2."""
    body = b'{"size": %d, "delay": 3, "data": "' % size
    body += b"x" * (size - len(body) - 2) + b'"}'
    context = ssl.create_default_context(cafile=CERTS / "cacert.pem")
    context.load_cert_chain(CERTS / "client_cert_mq.pem", CERTS / "client_key_mq.pem")
    parameters = pika.URLParameters(broker.url.replace("://", f"://{USER}:{PASSWORD}@"))
    parameters.ssl_options = pika.SSLOptions(context, "localhost")
    parameters.heartbeat = 0
    connection = pika.BlockingConnection(parameters)
    channel = connection.channel()
    channel.queue_declare(_REPLIES, durable=True)
    started = time.monotonic()
    for number in range(_WAITING):
        properties = pika.BasicProperties(message_id=f"m{number}", correlation_id=f"c{number}")
        channel.basic_publish("ML.MQ", "predict.now", body, properties)
    answered: Counter[int] = Counter()
    for _, _, answer in channel.consume(_REPLIES, auto_ack=True, inactivity_timeout=60):
        answered[len(answer or b"")] += 1
        if answer is None or answered.total() == _WAITING:
            break
    connection.close()
    seconds = time.monotonic() - started
    print(f"{_WAITING} messages of {size:,} bytes in the queue: replies by size {dict(answered)} after {seconds:.1f} s")
    print_peak("provider", pid)


def print_beside(port: int) -> None:
    """Part 3."""
    size = Limits().max_body_bytes - 1000
    invalid = {f"{name}, with an error at its end": text[:-1] for name, text in texts(size).items() if "nested" in name}
    for name, large in {"nothing": None, **texts(size), **invalid}.items():
        taken, status = beside(port, large)
        figures = [f"{path} {statistics.median(each):.1f} / {each[-1]:.1f}" for path, each in taken.items()]
        print(f"  {name}: {'; '.join(figures)} ({status})", flush=True)


def main() -> None:
    """Measure, and print the results."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.large_bodies")
    parser.add_argument("--callers", type=int, default=100)
    parser.add_argument("--megabytes", type=float, default=10.0)
    parser.add_argument("--prefetch", type=int, default=20)
    parser.add_argument("--only", choices=("crowd", "queue", "beside"))
    parser.add_argument("--probe", type=int, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.probe:
        probe(arguments.probe)
        return
    size = int(arguments.megabytes * _MEGABYTE)
    body = b'{"size": %d, "data": "' % size
    body += b"x" * (size - len(body) - 2) + b'"}'
    with ExitStack() as stack:
        bed = start_testbed(stack)
        model = start_model(stack, "instant_model").url
        port, *pids = start_pair(stack, bed, model, arguments.prefetch)
        with suppress(OSError):
            post(port, tls(), b"1")
        if arguments.only in (None, "crowd"):
            print(f"{arguments.callers} callers, {size:,} bytes, prefetch {arguments.prefetch}")
            print_crowd(port, dict(zip(("gateway", "provider"), pids, strict=True)), body, arguments.callers)
        if arguments.only in (None, "queue"):
            print_queue(bed.broker, pids[1], size)
        if arguments.only in (None, "beside"):
            print("Milliseconds that small requests take, median / longest, beside bodies of 10 MiB")
            print_beside(port)


if __name__ == "__main__":
    main()
