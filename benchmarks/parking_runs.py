"""The runs of the question "parking": parked messages, looks and replays by command and by HTTP, and callers beside."""

from __future__ import annotations

import http.client
import json
import os
import ssl
import subprocess
import sys
import threading
import time
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from pika import frame, spec

from benchmarks import usage
from benchmarks.amqp_wire import CHANNEL, Wire
from benchmarks.initiator import EXCHANGE
from benchmarks.load import LoadError, connected
from benchmarks.subjects import Kind, Subject, start_ours
from devtools.processes import CERTS, FOLDER, ROOT

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from contextlib import ExitStack

    from benchmarks.load import Load
    from benchmarks.testbed import Model, Testbed

TYPES = ("classic", "quorum")
BODY = json.dumps({"data": "7" * 1980}).encode()
assert 1_990 <= len(BODY) <= 2_010
_CALLERS = 8
_UNCONFIRMED, _BATCH = 2000, 100
#: Seconds for what a run waits for.
_PATIENCE = 300


@dataclass(frozen=True)
class Listed:
    """A look at a whole parking queue: seconds, and the peak of resident memory in MB."""

    seconds: float
    memory: float


def parked(kind: str) -> str:
    """The queue of this type whose messages are parked."""
    return f"parked.{kind}"


def _kind(kind: str, name: str) -> Kind:
    """The requests beside: their queue is of the same type."""
    return Kind(f"{name} {kind}", f"beside-{kind}.now", f"beside.{kind}", f"beside.{kind}.out")


def _written(name: str, document: object) -> Path:
    # JSON is YAML, too.
    path = FOLDER / f"bench/parking-{name}"
    path.write_text(json.dumps(document))
    return path


def _queue_file(kind: str) -> Path:
    return FOLDER / f"bench/parking-{kind}.yaml"


def start(stack: ExitStack, bed: Testbed, model: Model, kind: str) -> Subject:
    """A gateway that has the HTTP interface, and a provider that serves the requests beside alone."""
    beside = _kind(kind, "parking gateway")
    served = {
        "topic": EXCHANGE,
        "queueName": beside.queue,
        "bindingKey": beside.routing_key,
        "replyTo": beside.reply_to,
        "prefetch": 200,
        "queueType": kind,
    }
    queue = {"topic": EXCHANGE, "queueName": parked(kind), "bindingKey": parked(kind), "queueType": kind}
    queues = _written(_queue_file(kind).name.removeprefix("parking-"), [served, queue])
    rule = {"identities": ["*"], "routingKeys": ["#"], "queues": ["*"], "parking": ["read", "replay", "drop"]}
    access = _written("access.yaml", [rule])
    # The gateway declares all queues, and serves none.
    subject = start_ours(
        stack,
        beside,
        bed.broker,
        model.url,
        options=["--role", "gateway"],
        QUEUES_CONF=str(queues),
        HTTP_ACCESS=str(access),
        AUDIT_LOG=str(FOLDER / "bench/parking-audit.log"),
    )
    provider = _written(f"{kind}-provider.yaml", [served])
    other = _kind(kind, "parking provider")
    start_ours(stack, other, bed.broker, model.url, options=["--role", "provider"], QUEUES_CONF=str(provider))
    _declare(bed, queue["queueName"], kind)
    return subject


def _declare(bed: Testbed, queue: str, kind: str) -> None:
    """The queues of messages that are parked: only a provider with that entry would declare them."""
    wire = Wire(bed.broker.port)
    limit = {"x-delivery-limit": 2**31 - 1} if kind == "quorum" else {}
    arguments = {"x-queue-type": kind, **limit}
    wire.call(spec.Queue.Declare(queue=f"{queue}.parking", durable=True, arguments=arguments))
    wire.close()


def fill(bed: Testbed, queue: str, count: int) -> None:
    """Park this many messages of 2 KB, as the provider parks them; the parking queue is empty before."""
    wire = Wire(bed.broker.port)
    wire.call(spec.Queue.Purge(queue=f"{queue}.parking"))
    make, published = _message(queue), 0
    while wire.confirmed < count:
        room = min(_UNCONFIRMED - (published - wire.confirmed), count - published)
        if room >= _BATCH or 0 < room == count - published:
            wire.send(b"".join(make(published + number) for number in range(room)))
            published += room
        wire.receive()
    wire.close()


def _message(queue: str) -> Callable[[int], bytes]:
    """A function that makes the frames of a parked message from its number."""
    mark = f"{7:032}"
    headers = {
        "RqUID": mark,
        "pg-attempt": 5,
        "pg-redeliveries": 0,
        "pg-reason": "status",
        "pg-queue": queue,
        "pg-copy": mark,
        "pg-parked-at": int(time.time() * 1000),
        "pg-model-status": 500,
        "pg-model-error": '{"detail": "CUDA out of memory. Tried to allocate 512.00 MiB"}',
        "pg-routing-key": queue,
        "pg-identity": "initiator",
    }
    properties = spec.BasicProperties(
        content_type="application/json", delivery_mode=2, correlation_id=mark, message_id=mark, headers=headers
    )
    frames = (
        frame.Method(CHANNEL, spec.Basic.Publish(exchange="", routing_key=f"{queue}.parking", mandatory=True)),
        frame.Header(CHANNEL, len(BODY), properties),
        frame.Body(CHANNEL, BODY),
    )
    parts = b"".join(each.marshal() for each in frames).split(mark.encode())
    return lambda number: (b"%032d" % number).join(parts)


def waiting(bed: Testbed, queue: str) -> int:
    """Messages that are ready in a queue."""
    wire = Wire(bed.broker.port)
    count: int = wire.call(spec.Queue.Declare(queue=queue, passive=True)).message_count
    wire.close()
    return count


def until_waiting(bed: Testbed, queue: str, count: int) -> None:
    """Wait until so many messages are ready in a queue."""
    end = time.monotonic() + _PATIENCE
    while (found := waiting(bed, queue)) != count:
        if time.monotonic() > end:
            msg = f"{found:,} messages in {queue} instead of {count:,}"
            raise LoadError(msg)
        time.sleep(0.05)


def purge(bed: Testbed, queue: str) -> None:
    """Empty a work queue."""
    wire = Wire(bed.broker.port)
    wire.call(spec.Queue.Purge(queue=queue))
    wire.close()


#: Runs a program and notes the peak of its memory. The kernel counts what a process held before it became the program:
#: so a small one starts it.
_WITH_PEAK = """
import os, subprocess, sys
process = subprocess.Popen(sys.argv[2:])
_, status, used = os.wait4(process.pid, 0)
with open(sys.argv[1], "w") as file:
    file.write(str(used.ru_maxrss))
sys.exit(os.waitstatus_to_exitcode(status))
"""


def command(bed: Testbed, kind: str, *arguments: str) -> tuple[Listed, str]:
    """Run ``provider-gateway parking`` in a process of its own; returns its seconds and memory, and its output."""
    program = Path(sys.executable).with_name("provider-gateway")
    variables = {
        "PATH": os.environ["PATH"],
        "RMQ_URL": bed.broker.url,
        "MQ_CACERT": str(CERTS / "cacert.pem"),
        "MQ_CERT": str(CERTS / "client_cert_mq.pem"),
        "MQ_KEY": str(CERTS / "client_key_mq.pem"),
        "QUEUES_CONF": str(_queue_file(kind)),
        "AUDIT_LOG": str(FOLDER / "bench/parking-audit.log"),
    }
    output, peak = FOLDER / "bench/parking-output", FOLDER / "bench/parking-peak"
    began = time.monotonic()
    with output.open("w") as file:
        line = [sys.executable, "-c", _WITH_PEAK, str(peak), str(program), "parking", *arguments]
        ended = subprocess.run(line, stdout=file, stdin=subprocess.DEVNULL, env=variables, cwd=ROOT, check=False)
    seconds = time.monotonic() - began
    if ended.returncode:
        msg = f"provider-gateway parking {' '.join(arguments)}: status {ended.returncode}"
        raise LoadError(msg)
    return Listed(seconds, int(peak.read_text()) / 1024), output.read_text()


class Interface:
    """The HTTP interface of a gateway."""

    def __init__(self, subject: Subject) -> None:
        self._pid = subject.pid
        context = ssl.create_default_context(cafile=CERTS / "cacert.pem")
        context.load_cert_chain(CERTS / "client_cert.pem", CERTS / "client_key.pem")
        address = urlsplit(subject.url)
        self._connection = http.client.HTTPSConnection("localhost", address.port, context=context, timeout=_PATIENCE)

    def ask(self, method: str, path: str, document: object = None) -> Any:
        """A request and the document of its response."""
        body = None if document is None else json.dumps(document)
        self._connection.request(method, path, body, {"Content-Type": "application/json"} if body else {})
        response = self._connection.getresponse()
        text = response.read()
        if response.status >= 300:
            msg = f"{method} {path}: {response.status} {text.decode()}"
            raise LoadError(msg)
        return json.loads(text) if text else None

    def look(self, queue: str) -> tuple[Listed, Any]:
        """A look at a whole queue; memory is that of the gateway."""
        usage.reset_peak(self._pid)
        began = time.monotonic()
        found = self.ask("GET", f"/v1/parking/{queue}?limit=100")
        return Listed(time.monotonic() - began, usage.memory(self._pid).peak / 1024), found

    def replay(self, queue: str) -> str:
        """Begin to replay a queue; returns the path of the job."""
        document = self.ask("POST", f"/v1/parking/{queue}/replay", {"all": True, "why": "benchmark"})
        return f"/v1/parking/jobs/{document['id']}"

    def until(self, job: str, done: Callable[[Any], bool]) -> Any:
        """Wait until a job's document is as wanted; returns it."""
        end = time.monotonic() + _PATIENCE
        while True:
            document = self.ask("GET", job)
            if done(document):
                return document
            if document["state"] not in ("counting", "running") or time.monotonic() > end:
                msg = f"The job came to this: {document}"
                raise LoadError(msg)
            time.sleep(0.05)

    def close(self) -> None:
        self._connection.close()


def call(subject: Subject, count: int) -> Load:
    """Callers whose requests another queue serves."""
    with connected(subject.url, [subject.kind.routing_key], _CALLERS, count) as callers:
        load = callers.call()
    if load.errors:
        msg = f"beside: {load.statuses}"
        raise LoadError(msg)
    return load


@contextmanager
def again_and_again(what: Callable[[], object]) -> Iterator[list[float]]:
    """Do something in a thread until the end of the block, at least once; yields the seconds that each took."""
    over, took = threading.Event(), list[float]()
    failed: list[Exception] = []

    def run() -> None:
        try:
            while not over.is_set():
                began = time.monotonic()
                what()
                took.append(time.monotonic() - began)
        except Exception as error:  # noqa: BLE001 - it is raised where the block ends
            failed.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield took
    finally:
        over.set()
        thread.join()
    if failed:
        raise failed[0]
