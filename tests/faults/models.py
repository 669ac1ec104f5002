"""The base of the fault tests of busy and absent models: models as processes, and messages that wait for them."""

from __future__ import annotations

import json
import sys
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import pika

from devtools.ports import free_ports
from tests.faults.ledger import fresh_id
from tests.faults.serving import ServingTestCase
from tests.support.folders import ROOT
from tests.support.model_process import EVERY
from tests.support.processes import Process

if TYPE_CHECKING:
    from twisted.trial.unittest import TestCase

    from tests.support.processes import Gateway


@dataclass(frozen=True)
class Figures:
    """What a model counted.

    Attributes:
        most: the most calls that it worked on at a time.
        refusals: calls that it refused.
        asked: requests of its ready URL.
        computed: number of calls that it worked on, by id.
    """

    most: int = 0
    refusals: int = 0
    asked: int = 0
    computed: dict[str, int] = field(default_factory=dict)

    @property
    def served(self) -> int:
        """Calls that it worked on."""
        return sum(self.computed.values())

    @property
    def share_refused(self) -> float:
        """Refused calls among all."""
        return self.refusals / max(1, self.refusals + self.served)

    def since(self, before: Figures) -> Figures:
        """The figures of the time since earlier ones, without ids."""
        return Figures(
            self.most, self.refusals - before.refusals, self.asked - before.asked, {"": self.served - before.served}
        )


class ModelProcess(Process):
    """The other end of :mod:`tests.support.model_process`.

    Attributes:
        port: where it listens while it is up.
    """

    port: int

    @classmethod
    def begin(cls, test: TestCase) -> ModelProcess:
        """Start a model that does not listen yet."""
        [port] = free_ports(1)
        command = [sys.executable, "-m", "tests.support.model_process", str(port)]
        model: ModelProcess = cls.start(test, command, {"PATH": "/usr/bin:/bin"}, ROOT)
        model.port = port
        model._answers = 0
        return model

    @property
    def url(self) -> str:
        """Where it takes calls."""
        return f"http://127.0.0.1:{self.port}/predict"

    async def tell(self, **behaviour: Any) -> dict[str, Figures]:
        """Change the behaviour of a kind (``kind=``), or of all other kinds; returns the figures so far, by kind."""
        self._answers += 1
        wanted = self._answers
        self.transport.write(json.dumps(behaviour).encode() + b"\n")
        line = await self.when(lambda: len(self.lines) >= wanted and self.lines[wanted - 1])
        return {kind: Figures(**figures) for kind, figures in json.loads(line).items()}

    async def figures(self, kind: str) -> Figures:
        """The figures so far of the model that serves a kind."""
        found = await self.tell()
        return found.get(kind, found[EVERY])


class AbsentModelTestCase(ServingTestCase):
    """Providers whose models are processes; no model is called twice for a message, and nothing is parked."""

    async def setUp(self) -> None:
        await super().setUp()
        self.keys |= {"dle": True, "maxAttempts": 2, "retryDelay": 300}
        self.models: list[ModelProcess] = []
        self._computed: Counter[str] = Counter()

    async def begin_model(self, *, up: bool = True, **behaviour: Any) -> ModelProcess:
        """Start a model."""
        model = ModelProcess.begin(self)
        self.models.append(model)
        await model.tell(up=up, **behaviour)
        return model

    def kind(self, name: str, **keys: Any) -> dict[str, Any]:
        """An entry with a queue of its own for the requests of one kind."""
        queue = f"{self.queue}.{name}"
        if queue not in self.work_queues:
            self.work_queues.append(queue)
        return self.entry(**{**self.keys, "queueName": queue, "bindingKey": f"{name}.*", "replyTo": None, **keys})

    async def serve_kinds(self, model: ModelProcess, kinds: dict[str, dict[str, Any]], **variables: str) -> Gateway:
        """Start a provider with an entry for each kind, with these keys; returns when it is ready."""
        entries = [self.kind(name, **keys) for name, keys in kinds.items()]
        provider = self.start("--role", "provider", entries=entries, **{"MODEL_URL": model.url, **variables})
        return await provider.ready()

    async def backlog(self, kind: str, count: int) -> None:
        """Publish some requests of a kind."""
        await self.publish([fresh_id(kind) for _ in range(count)])

    async def publish(self, requests: list[str]) -> None:
        """Publish requests of one kind, all in one transaction; they are in the ledger."""
        key = f"{requests[0].partition('-')[0]}.now"
        await self.on_channel(lambda channel: self._publish(channel, requests, key))

    def _publish(self, channel: Any, requests: list[str], routing_key: str) -> None:
        transaction = channel.connection.channel()
        transaction.tx_select()
        for request in requests:
            self.ledger.sent(request)
            properties = pika.BasicProperties(
                delivery_mode=2,
                message_id=request,
                correlation_id=request,
                reply_to=self.output,
                headers={"RqUID": request},
            )
            body = json.dumps({"id": request}).encode()
            transaction.basic_publish(self.exchange, routing_key, body, properties)
        transaction.tx_commit()
        for request in requests:
            self.ledger.confirmed(request)

    async def answered(self, count: int, seconds: float = 60) -> None:
        """Wait until this many requests have got the model's answer."""
        await self.until(f"{count} answers", lambda: self.ledger.statuses[200] >= count, seconds)

    async def none_failed(self) -> None:
        """Drain and check the ledger: each request was computed once and answered; none was parked."""
        await self.drained()
        self.ledger.check(self)
        table = self.ledger.summary()
        self.assertEqual(set(self.ledger.statuses), {200}, table)
        self.assertEqual(self.ledger.repeated_calls(), 0, table)

    async def _collect(self) -> None:
        await super()._collect()
        computed: Counter[str] = Counter()
        for model in self.models:
            for figures in (await model.tell()).values():
                computed.update(figures.computed)
        for request in (computed - self._computed).elements():
            self.ledger.called(request)
        self._computed = computed
