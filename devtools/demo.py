"""A running ``twistd provider-gateway --demo``, for browsers: its addresses, and messages for its queues."""

from __future__ import annotations

import os
import re
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pika

from devtools.processes import ProcessError, end, lines, start

if TYPE_CHECKING:
    from collections.abc import Iterable
    from contextlib import ExitStack
    from subprocess import Popen

_LAST_LINE = "Ctrl-C ends everything."


class Demo:
    """A demo that ends with the stack.

    Args:
        folder: for its certificates, results and log; may exist.
        settings: variables of its environment.

    Attributes:
        link: the address of the workbench with its token.
        origin: of its plain listener.
        https: the origin of its HTTPS listener.
        certs: the folder of its certificates.
        amqp_url: address of its broker.
    """

    def __init__(self, stack: ExitStack, folder: Path, **settings: str) -> None:
        twistd = Path(sys.executable).with_name("twistd")
        command = [str(twistd), "-n", "--pidfile=", "provider-gateway", "--demo", f"--demo-folder={folder}"]
        environment = {**os.environ, "HTTP_PORT": "0", "ADMIN_PORT": "0", **settings}
        folder.mkdir(parents=True, exist_ok=True)
        self.process: Popen[str] = start(stack, command, folder / "demo.err", environment)
        output, said = lines(self.process, folder / "demo.out"), []
        for line in output:
            said.append(line)
            if _LAST_LINE in line:
                break
        else:
            self.process.wait()
            msg = f"The demo ended: {(folder / 'demo.err').read_text().strip()}"
            raise ProcessError(msg)
        threading.Thread(target=lambda: list(output), daemon=True).start()  # the rest of its output is read, too
        text = "".join(said)
        self.certs = folder / "certs"
        self.log = folder / "gateway.log"
        self.link = _found(r"http://127\.0\.0\.1:\d+/workbench\?token=\S+", text)
        self.origin = self.link.partition("/workbench")[0]
        self.https = _found(r"https://localhost:\d+", text)
        self.amqp_url = _found(r'amqp://[^"]+', text)

    def end(self) -> None:
        """Stop it, before the stack does."""
        end(self.process)

    def park(self, messages: Iterable[tuple[bytes, dict[str, Any]]], queue: str = "fib.parking") -> None:
        """Put messages into a parking queue: bodies, each with the properties that pika knows."""
        connection = pika.BlockingConnection(pika.URLParameters(self.amqp_url))
        channel = connection.channel()
        for body, properties in messages:
            channel.basic_publish("", queue, body, pika.BasicProperties(**properties))
        connection.close()

    def purge(self, *queues: str) -> None:
        """Empty queues."""
        connection = pika.BlockingConnection(pika.URLParameters(self.amqp_url))
        for queue in queues:
            connection.channel().queue_purge(queue)
        connection.close()

    def count(self, queue: str = "fib.parking") -> int:
        """Ready messages of a queue."""
        connection = pika.BlockingConnection(pika.URLParameters(self.amqp_url))
        found: Any = connection.channel().queue_declare(queue, passive=True)
        connection.close()
        count: int = found.method.message_count
        return count


def _found(pattern: str, text: str) -> str:
    found = re.search(pattern, text)
    if found is None:
        msg = f"The demo does not print {pattern}:\n{text}"
        raise ProcessError(msg)
    return found[0]
