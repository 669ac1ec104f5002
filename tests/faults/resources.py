"""What the fault tests share: a RabbitMQ node of their own that they may break, and what its queues hold."""

from __future__ import annotations

import json
from functools import cache
from typing import Any

from pika.exceptions import ChannelClosedByBroker

from devtools.rabbitmq import RabbitMQ
from tests.support.certificates import certificates
from tests.support.folders import folder

#: What raises an alarm, and what ends it: RabbitMQ's default, and the limit of the node's configuration.
ALARMS = {
    "memory": ("set_vm_memory_high_watermark", "0.00001", "0.4"),
    "disk": ("set_disk_free_limit", "100000GB", "50MB"),
}


class FragileRabbitMQ(RabbitMQ):
    """A node that knows what was done to it, and gets well again.

    Args:
        name: of its folder.
    """

    def __init__(self, name: str) -> None:
        super().__init__(folder() / name, certificates())
        self._alarms: set[str] = set()
        self._app_stopped = False

    def raise_alarm(self, kind: str) -> None:
        """Make it block publishers, by "memory" or "disk"."""
        command, raised, _ = ALARMS[kind]
        self._alarms.add(kind)
        self.control(command, raised)

    def clear_alarm(self, kind: str) -> None:
        """Make it take messages again."""
        command, _, cleared = ALARMS[kind]
        self.control(command, cleared)
        self._alarms.discard(kind)

    def stop_app(self) -> None:
        """Stop the broker in order, and leave the Erlang node running."""
        self._app_stopped = True
        self.control("stop_app")

    def start_app(self) -> None:
        """Start the broker again; returns when it takes connections."""
        self.control("start_app")
        self._app_stopped = False

    def start(self) -> None:
        """Start the node, with nothing done to it."""
        super().start()
        self._alarms.clear()
        self._app_stopped = False

    def restore(self) -> None:
        """Make it well: running, not suspended, without alarms."""
        self.resume()
        if not self.is_running:
            self.start()
        if self._app_stopped:
            self.start_app()
        for kind in list(self._alarms):
            self.clear_alarm(kind)


@cache
def fault_broker() -> FragileRabbitMQ:
    """The node that fault tests use and break; it may be down when this returns."""
    return FragileRabbitMQ("fault-node")


def ready_counts(channel: Any, queues: list[str]) -> dict[str, int]:
    """How many messages wait in each queue that exists, undelivered."""
    counts = {}
    for queue in queues:
        # A queue that is not there costs the channel.
        each = channel.connection.channel()
        try:
            counts[queue] = each.queue_declare(queue, passive=True).method.message_count
            each.close()
        except ChannelClosedByBroker:
            continue
    return counts


def all_queues(node: RabbitMQ) -> dict[str, dict[str, Any]]:
    """Each queue's ``messages`` (the unacknowledged ones, too) and ``consumers``, by name."""
    listed = json.loads(node.control("list_queues", "name", "messages", "consumers", "--formatter", "json"))
    return {row.pop("name"): row for row in listed}


def take_all(channel: Any, queue: str) -> list[tuple[Any, bytes]]:
    """Take what a queue holds at the moment, and leave it empty."""
    taken: list[tuple[Any, bytes]] = []
    while True:
        method, properties, body = channel.basic_get(queue, auto_ack=True)
        if method is None:
            return taken
        taken.append((properties, body))
