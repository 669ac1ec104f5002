"""What ``--check --connect`` expects of a broker, beside what a process needs of it."""

from __future__ import annotations

from typing import Any

from provider_gateway.amqp.channels import Channels, channels_needed
from provider_gateway.app.check import consumers_of
from provider_gateway.config.queue_file import QueueEntry
from provider_gateway.config.settings import ROLES, Settings
from tests.support.memory_store import MemoryStore
from tests.support.service import ServiceTestCase


class ChannelsTests(ServiceTestCase):
    """Channels on the connection that consumes."""

    def settings(self, **values: Any) -> Settings:
        return Settings(_env_file=None, rmq_url="amqp://localhost", **values)  # type: ignore[call-arg] # pydantic-settings

    def test_as_a_process(self) -> None:
        """The check wants as many channels as a process with both roles, with and without a result store."""
        wanted: list[int] = []
        self.patch(Channels, "require", lambda _, count: wanted.append(count))
        entries = [QueueEntry.model_validate({"topic": "X", "queueName": "work", "bindingKey": "a"})]
        for url in (None, "sqlite:////r.db"):
            self.store = None if url is None else MemoryStore()
            del wanted[:]
            self.begin(result_store=url)
            self.assertEqual(
                max(wanted), channels_needed(consumers_of(self.settings(result_store=url), entries, ROLES))
            )

    def test_webhooks(self) -> None:
        """A gateway with an access file consumes the queue of webhooks, too."""
        store: dict[str, Any] = {"result_store": "sqlite:////r.db"}
        for more, count in (({}, 4), ({"http_access": "access.yaml"}, 5)):
            self.assertEqual(consumers_of(self.settings(**store, **more), [], ["gateway"]), count)
