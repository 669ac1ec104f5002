"""The RabbitMQ node that fault tests may break, and the contents of its queues."""

from __future__ import annotations

import json
from functools import cache
from typing import Any

from pika.exceptions import ChannelClosedByBroker

from devtools.rabbitmq import RabbitMQ
from tests.support.certificates import certificates
from tests.support.folders import folder

#: The rabbitmqctl command of each alarm, the value that raises it, and the usual value that clears it.
ALARMS = {
    "memory": ("set_vm_memory_high_watermark", "0.00001", "0.4"),
    "disk": ("set_disk_free_limit", "100000GB", "50MB"),
}
#: ``frame_max`` of the soak's node, in bytes.
SOAK_FRAME_MAX = 8192


class FragileRabbitMQ(RabbitMQ):
    """A node that remembers what a test did to it, so that it can be restored.

    Args:
        name: the name of its folder.
        settings: further lines of its ``rabbitmq.conf``.
    """

    def __init__(self, name: str, settings: str = "") -> None:
        super().__init__(folder() / name, certificates(), settings=settings)
        self._alarms: set[str] = set()
        self._app_stopped = False

    def raise_alarm(self, kind: str) -> None:
        """Raise the "memory" or "disk" alarm: the broker blocks publishers."""
        command, raised, _ = ALARMS[kind]
        self._alarms.add(kind)
        self.control(command, raised)

    def clear_alarm(self, kind: str) -> None:
        """Clear an alarm: the broker accepts messages again."""
        command, _, cleared = ALARMS[kind]
        self.control(command, cleared)
        self._alarms.discard(kind)

    def stop_app(self) -> None:
        """Stop the broker with ``stop_app``; the Erlang node goes on."""
        self._app_stopped = True
        self.control("stop_app")

    def start_app(self) -> None:
        """Start the broker with ``start_app``; returns when it accepts connections."""
        self.control("start_app")
        self._app_stopped = False

    def start(self) -> None:
        """Start the node without alarms."""
        super().start()
        self._alarms.clear()
        self._app_stopped = False

    def restore(self) -> None:
        """Restore the node: running, not suspended, without alarms."""
        self.resume()
        if not self.is_running:
            self.start()
        if self._app_stopped:
            self.start_app()
        for kind in list(self._alarms):
            self.clear_alarm(kind)


@cache
def fault_broker() -> FragileRabbitMQ:
    """The node that fault tests break; it need not be running."""
    return FragileRabbitMQ("fault-node")


@cache
def soak_broker() -> FragileRabbitMQ:
    """The node of the soak: messages with large headers do not fit its frames."""
    return FragileRabbitMQ("soak-node", f"frame_max = {SOAK_FRAME_MAX}")


def ready_counts(channel: Any, queues: list[str]) -> dict[str, int]:
    """The number of ready messages in each of these queues that exists."""
    counts = {}
    for queue in queues:
        # The broker closes the channel if the queue does not exist.
        each = channel.connection.channel()
        try:
            counts[queue] = each.queue_declare(queue, passive=True).method.message_count
            each.close()
        except ChannelClosedByBroker:
            continue
    return counts


def all_queues(node: RabbitMQ) -> dict[str, dict[str, Any]]:
    """The ``messages`` (ready and unacknowledged) and ``consumers`` of each queue, by name."""
    listed = json.loads(node.control("list_queues", "name", "messages", "consumers", "--formatter", "json"))
    return {row.pop("name"): row for row in listed}


def take_all(channel: Any, queue: str) -> list[tuple[Any, bytes]]:
    """Take all ready messages of a queue."""
    taken: list[tuple[Any, bytes]] = []
    while True:
        method, properties, body = channel.basic_get(queue, auto_ack=True)
        if method is None:
            return taken
        taken.append((properties, body))
