"""The runs of the question "results": accept, fetch, wait for another replica's result, purge."""

from __future__ import annotations

import http.client
import json
import os
import random
import re
import ssl
import sys
import time
import urllib.request
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from pika import spec

from benchmarks.amqp_wire import Wire
from benchmarks.bodies import BODY
from benchmarks.instant_worker import reply
from benchmarks.load import Load, LoadError, connected
from benchmarks.result_stores import add_rows, row_id
from benchmarks.subjects import Kind, Subject, start_ours, start_peer
from benchmarks.testbed import Testbed, cpu, cpu_ms
from devtools.processes import CERTS, FOLDER, start

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from benchmarks.result_stores import PostgreSQLStore, Store

PEER = "peer"
_ASYNC = "Prefer: respond-async"
#: Nothing calls a model here: a worker replies.
_NO_MODEL = "http://127.0.0.1:9/predict"
_WARM_UP = 300
#: Seconds for what a run waits for.
_PATIENCE = 300
#: Callers of a load beside a purge, and loads of which the medians are taken.
_BESIDE, _LOADS = 8, 5
#: Seconds for a long-poll to arrive before its reply is published.
_ARRIVES = 0.05


@dataclass(frozen=True)
class Accepted:
    """A run of async requests.

    Attributes:
        cpu: CPU time in milliseconds per request, by process, until all replies are stored.
        stored_after: seconds from the first request until all replies are stored.
    """

    load: Load
    cpu: dict[str, float]
    stored_after: float


def _kind(name: str) -> Kind:
    word = re.sub(r"\W+", "-", name.lower())
    return Kind(name, f"{word}.now", f"{word}.in", f"{word}.out")


@contextmanager
def started(bed: Testbed, name: str, store: Store, *, worker: bool = True, **settings: str) -> Iterator[Subject]:
    """A process with a store: the peer, or for any other name the gateway role of ours.

    Args:
        worker: start a worker that replies to its messages.
        settings: environment variables of our process.
    """
    kind = _kind(f"{name} {store.name}")
    with ExitStack() as stack:
        work = [sys.executable, "-m", "benchmarks.instant_worker", str(bed.broker.port), kind.queue]
        if name == PEER:
            work.append(kind.routing_key)
        else:
            settings = {"RESULT_STORE": store.url(), **settings}
            subject = start_ours(stack, kind, bed.broker, _NO_MODEL, options=["--role", "gateway"], **settings)
        if worker:
            process = start(stack, work, FOLDER / "bench/worker.log", dict(os.environ))
            assert process.stdout is not None
            process.stdout.readline()
        if name == PEER:
            subject = start_peer(stack, kind, "results_peer", bed.broker, {"DATABASE_URL": store.peer_url()})
        yield subject


def send(subject: Subject, concurrency: int, count: int) -> Load:
    """Send async requests, and see that all are accepted."""
    with connected(subject.url, [subject.kind.routing_key, _ASYNC], concurrency, count) as callers:
        load = callers.call("202")
    if load.errors:
        msg = f"{subject.kind.name}, concurrency {concurrency}: {load.statuses}"
        raise LoadError(msg)
    return load


def wait_until_stored(store: Store, table: str) -> None:
    """Wait until no request is pending."""
    end = time.monotonic() + _PATIENCE
    while int(store.sql(f"SELECT count(*) FROM {table} WHERE status = 'pending'")):
        if time.monotonic() > end:
            msg = f"{store.name}: requests are pending for {_PATIENCE} s"
            raise LoadError(msg)
        time.sleep(0.05)


def accept(bed: Testbed, subject: Subject, store: Store, concurrency: int, count: int) -> Accepted:
    """Callers send async requests, one after the other, while their replies are stored."""
    table = "predictions" if subject.kind.name.startswith(PEER) else "requests"
    pids = {"process": subject.pid, "broker": bed.broker_pid}
    before, began = cpu(pids), time.monotonic()
    load = send(subject, concurrency, count)
    wait_until_stored(store, table)
    return Accepted(load, cpu_ms(before, cpu(pids), count), time.monotonic() - began)


def warm_up(subject: Subject, store: Store, concurrency: int = _BESIDE) -> str:
    """Send some requests: connections to the database are made. Returns the id of one of ours that is answered."""
    send(subject, concurrency, _WARM_UP)
    if subject.kind.name.startswith(PEER):
        return ""
    wait_until_stored(store, "requests")
    return store.sql("SELECT id FROM requests WHERE status = 'succeeded' LIMIT 1")


def fill(subject: Subject, store: Store, count: int, expires: float | None = None) -> None:
    """Store this many more results, which are copies of one that the process has stored itself."""
    add_rows(store, warm_up(subject, store), count, expires)
    store.settle()


def fetch(subject: Subject, rows: int, count: int) -> Load:
    """One caller gets results, each time another one of all that :func:`fill` has stored."""
    paths: Path = FOLDER / "bench/paths"
    draw = random.Random(rows)
    paths.write_text("".join(f"/v1/requests/{row_id(draw.randint(1, rows))}/result\n" for _ in range(count)))
    with connected(subject.url, ["--get", str(paths)], 1, count) as callers:
        load = callers.call()
    if load.errors:
        msg = f"{subject.kind.name}: {load.statuses}"
        raise LoadError(msg)
    return load


def poll(bed: Testbed, store: PostgreSQLStore, count: int) -> list[float]:
    """Wait at one replica for results that another one stores.

    Returns:
        Milliseconds from the commit, as PostgreSQL has noted it, until the response had arrived.
    """
    with ExitStack() as stack:
        here, there = (
            stack.enter_context(started(bed, "polled", store, worker=False, INSTANCE=each))
            for each in ("here", "there")
        )
        wire = Wire(bed.broker.port)
        stack.callback(wire.close)
        arrived: dict[str, float] = {}
        end = time.monotonic() + _PATIENCE
        while len(arrived) < count:
            if time.monotonic() > end:
                msg = f"The other replica has stored {len(arrived)} results of {count} in {_PATIENCE} s"
                raise LoadError(msg)
            before = _total(there, "results_stored")
            id_, at = _poll_once(here, wire)
            if _total(there, "results_stored") > before:
                arrived[id_] = at
        wire.call(spec.Queue.Purge(queue=here.kind.queue))
    rows = store.sql(
        "SELECT string_agg(id || ' ' || extract(epoch FROM pg_xact_commit_timestamp(xmin)), ',') FROM requests"
    )
    committed = dict(row.split() for row in rows.split(","))
    return [(at - float(committed[id_])) * 1000 for id_, at in arrived.items()]


def _poll_once(subject: Subject, wire: Wire) -> tuple[str, float]:
    address = urlsplit(subject.url)
    context = ssl.create_default_context(cafile=CERTS / "cacert.pem")
    context.load_cert_chain(CERTS / "client_cert.pem", CERTS / "client_key.pem")
    connection = http.client.HTTPSConnection(address.hostname or "", address.port, context=context, timeout=60)
    head = {"Content-Type": "application/json", "routing-key": subject.kind.routing_key, "Prefer": "respond-async"}
    connection.request("POST", address.path, BODY, head)
    response = connection.getresponse()
    id_: str = json.loads(response.read())["id"]
    connection.request("GET", f"/v1/requests/{id_}/result", headers={"Prefer": "wait=60"})
    time.sleep(_ARRIVES)
    queue = f"{subject.kind.reply_to}.results"
    wire.send(reply(spec.BasicProperties(correlation_id=id_, reply_to=queue)))
    response = connection.getresponse()
    response.read()
    at = time.time()
    connection.close()
    if response.status != 200:
        msg = f"A long-poll was answered with {response.status}"
        raise LoadError(msg)
    return id_, at


def _total(subject: Subject, name: str) -> float:
    with urllib.request.urlopen(f"{subject.admin_url}/metrics") as response:
        text = response.read().decode()
    found = re.findall(rf"^provider_gateway_{name}_total(?:\{{.*\}})? (\S+)$", text, re.MULTILINE)
    return sum(map(float, found))


@dataclass(frozen=True)
class Purge:
    """Loads before results expire, and while they are purged.

    Attributes:
        left: results that were not purged yet when the loads ended.
        keeps_up: rows purged for each row that the requests added meanwhile.
    """

    before: list[Load]
    during: list[Load]
    left: int
    keeps_up: float


def purge(subject: Subject, store: Store, rows: int, count: int, seconds: float) -> Purge:
    """Store results that expire all at once, with their records, and send async requests before and after.

    Args:
        count: requests of each load.
        seconds: for storing them, and for the loads before.
    """
    expires = time.time() + seconds
    fill(subject, store, rows, expires)
    before = [send(subject, _BESIDE, count) for _ in range(_LOADS)]
    left = expires - time.time()
    if left < 0:
        msg = f"{store.name}: storing {rows:,} rows and the loads took more than {seconds} s"
        raise LoadError(msg)
    time.sleep(left)
    due = f"SELECT count(*) FROM results WHERE expires <= {round(expires * 1000)}"
    end = time.monotonic() + _PATIENCE
    while int(store.sql(due)) == rows:
        if time.monotonic() > end:
            msg = f"{store.name}: nothing was purged in {_PATIENCE} s"
            raise LoadError(msg)
        time.sleep(0.2)
    purged = _total(subject, "results_purged")
    during = [send(subject, _BESIDE, count) for _ in range(_LOADS)]
    purged = _total(subject, "results_purged") - purged
    # A request adds a record and a result.
    return Purge(before, during, int(store.sql(due)), purged / (2 * count * _LOADS))
