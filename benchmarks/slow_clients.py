"""``make slow``: a good client's latency while 200 slow ones of each kind hold the gateway's connections.

The kinds: TLS handshakes that stop half way; slow headers, slow bodies and slow reading by ``slowhttptest``, which gets
its client certificate from ``stunnel``; and large responses that are not read. ``SECONDS`` is the time of each.
"""

from __future__ import annotations

import http.client
import json
import os
import re
import socket
import ssl
import statistics
import subprocess
import threading
import time
import urllib.request
from contextlib import ExitStack, suppress
from typing import TYPE_CHECKING

from benchmarks.alone import start_alone
from devtools.processes import ADMIN_PORT, CERTS, FOLDER, HTTP_PORT, start

if TYPE_CHECKING:
    from collections.abc import Callable

SECONDS = int(os.environ.get("SECONDS", "60"))
COUNT = 200
RATE = 20
#: Bytes of a response that fits no socket buffer.
LARGE = 1_000_000
BODY = b'{"data": [29, 29]}'
HEADERS = {"Content-Type": "application/json", "routing-key": "predict.now"}
TUNNEL = 15_443


def tls() -> ssl.SSLContext:
    """TLS context of a trusted client."""
    context = ssl.create_default_context(cafile=CERTS / "cacert.pem")
    context.load_cert_chain(CERTS / "client_cert.pem", CERTS / "client_key.pem")
    return context


def good_client(ended: threading.Event, taken: list[float], errors: list[str]) -> None:
    """Send requests at a steady rate, every fifth on a new connection; record milliseconds and errors."""
    context, connection, number = tls(), None, 0
    while not ended.wait(1 / RATE):
        started = time.perf_counter()
        try:
            if connection is None or number % 5 == 0:
                connection = http.client.HTTPSConnection("localhost", int(HTTP_PORT), context=context, timeout=10)
            connection.request("POST", "/v1/predict", BODY, HEADERS)
            response = connection.getresponse()
            response.read()
            if response.status != 200:
                errors.append(str(response.status))
        except OSError as error:
            errors.append(repr(error))
            connection = None
        taken.append((time.perf_counter() - started) * 1000)
        number += 1


def metrics() -> dict[str, float]:
    """The gateway's metrics by name and labels."""
    with urllib.request.urlopen(f"http://localhost:{ADMIN_PORT}/metrics", timeout=10) as response:
        text = response.read().decode()
    return {name: float(value) for name, value in re.findall(r"^(provider_gateway\S+) (\S+)$", text, re.MULTILINE)}


def hold(begin: Callable[[], socket.socket], at_once: int = COUNT) -> None:
    """Keep ``COUNT`` connections open for ``SECONDS``; a closed connection is replaced.

    Args:
        at_once: connections made in each fifth of a second, until there are enough.
    """
    until = time.monotonic() + SECONDS
    held: list[socket.socket] = []
    while time.monotonic() < until:
        for each in list(held):
            with suppress(BlockingIOError, OSError):
                if each.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT):
                    continue
                held.remove(each)
                each.close()
        for _ in range(min(at_once, COUNT - len(held))):
            with suppress(OSError):
                held.append(begin())
        time.sleep(0.2)
    for each in held:
        each.close()


def half_a_handshake() -> socket.socket:
    """A connection that sends only the beginning of a TLS record."""
    connection = socket.create_connection(("localhost", int(HTTP_PORT)))
    connection.sendall(b"\x16\x03\x01\x02\x00\x01\x00")
    return connection


def unread_answer() -> socket.socket:
    """A connection through the tunnel, with a large response that is not read."""
    connection = socket.create_connection(("localhost", TUNNEL))
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    body = json.dumps({"size": LARGE}).encode()
    head = (
        "POST /v1/predict HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nrouting-key: predict.now\r\n"
    )
    connection.sendall(f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body)
    return connection


def slowhttptest(*options: str) -> Callable[[], None]:
    """A run of slowhttptest against the tunnel."""
    url = f"http://localhost:{TUNNEL}/v1/predict"
    command = ["slowhttptest", "-c", str(COUNT), "-r", str(COUNT), "-l", str(SECONDS), "-u", url, *options]
    return lambda: subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) and None


KINDS: dict[str, Callable[[], None]] = {
    "none": lambda: time.sleep(SECONDS),
    "half a handshake": lambda: hold(half_a_handshake),
    "slow headers": slowhttptest("-H", "-i", "5"),
    "slow body": slowhttptest("-B", "-i", "5", "-s", "8192", "-f", "application/json"),
    "slow reading": slowhttptest("-X", "-w", "1", "-y", "2", "-n", "5", "-z", "1"),
    "unread responses": lambda: hold(unread_answer, at_once=4),
}


def start_tunnel(stack: ExitStack) -> None:
    """Start stunnel, which presents the client certificate."""
    configuration = FOLDER / "stunnel.conf"
    lines = ["foreground = yes", "pid =", "[gateway]", "client = yes", f"accept = 127.0.0.1:{TUNNEL}"]
    lines += [f"connect = 127.0.0.1:{HTTP_PORT}", f"cert = {CERTS}/client_cert.pem", f"key = {CERTS}/client_key.pem"]
    configuration.write_text("\n".join(lines) + "\n")
    start(stack, ["stunnel4", str(configuration)], FOLDER / "stunnel.log", dict(os.environ))


def try_kind(name: str, run: Callable[[], None]) -> None:
    """Run one kind of slow client, and print a line about it."""
    before = metrics()
    ended, most = threading.Event(), [0.0]
    taken: list[float] = []
    errors: list[str] = []

    def watch() -> None:
        while not ended.wait(1):
            most[0] = max(most[0], metrics()["provider_gateway_http_connections"])

    threads = [threading.Thread(target=good_client, args=(ended, taken, errors)), threading.Thread(target=watch)]
    for thread in threads:
        thread.start()
    run()
    ended.set()
    for thread in threads:
        thread.join()
    after = metrics()
    taken.sort()
    dropped = sum(after[key] - before.get(key, 0) for key in after if "http_dropped_connections_total{" in key)
    late = sum(after[key] - before.get(key, 0) for key in after if "http_requests_total{" in key and '"408"' in key)
    print(
        f"{name:17} {len(taken):5} requests, {len(errors)} errors, median {statistics.median(taken):5.1f} ms, "
        f"p99 {taken[int(len(taken) * 0.99)]:6.1f} ms; connections up to {most[0]:.0f}, dropped {dropped:.0f}, "
        f"answered 408: {late:.0f}",
        flush=True,
    )
    if errors:
        print(f"    {errors[:5]}", flush=True)


def main() -> None:
    """Start everything, try each kind, print."""
    with ExitStack() as stack:
        start_alone(stack, "slow")
        start_tunnel(stack)
        for name, run in KINDS.items():
            try_kind(name, run)


if __name__ == "__main__":
    main()
