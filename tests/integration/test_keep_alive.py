"""Models that close idle connections while calls go on: with leave to repeat, no call of thousands fails."""

from __future__ import annotations

import asyncio
import random
import ssl
import threading
import time
from collections import Counter
from typing import TYPE_CHECKING, Any

from twisted.internet import reactor
from twisted.internet.defer import Deferred, gatherResults
from twisted.internet.task import deferLater
from twisted.internet.threads import deferToThread
from twisted.trial.unittest import TestCase

from provider_gateway.config.settings import Settings
from provider_gateway.errors import ModelFailure
from provider_gateway.message.message import Message
from provider_gateway.model.client import model_client
from provider_gateway.model.model import Model
from provider_gateway.security.tls import model_tls
from tests.support.certificates import certificates

if TYPE_CHECKING:
    from collections.abc import Iterator

COUNT = 2000
_OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


class ClosingModel:
    """A model in a thread that closes connections without a word.

    Args:
        idle: seconds after which an idle connection is closed; 0: at once after each response.
        tls: TLS of its listener; None for plain HTTP.

    Attributes:
        seen: how often each body was received.
    """

    def __init__(self, idle: float, tls: ssl.SSLContext | None = None) -> None:
        self.seen: Counter[bytes] = Counter()
        self._idle, self._tls = idle, tls
        self._port = 0
        self._is_ready = threading.Event()
        self._tasks: set[asyncio.Task[Any]] = set()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._run()))
        self._thread.start()

    def url(self) -> str:
        """Its URL."""
        self._is_ready.wait()
        return f"{'https' if self._tls else 'http'}://localhost:{self._port}/"

    def close(self) -> None:
        """Close all connections, and end the thread."""
        self._loop.call_soon_threadsafe(self._end.set)
        self._thread.join()

    async def _run(self) -> None:
        self._loop, self._end = asyncio.get_running_loop(), asyncio.Event()
        server = await asyncio.start_server(self._serve, "127.0.0.1", 0, backlog=COUNT, ssl=self._tls)
        self._port = server.sockets[0].getsockname()[1]
        self._is_ready.set()
        await self._end.wait()
        server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        patience = 10.0
        try:
            while True:
                head = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), patience)
                length = int(head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0])
                self.seen[await reader.readexactly(length)] += 1
                writer.write(_OK)
                if not self._idle:
                    break
                patience = self._idle
        except (asyncio.IncompleteReadError, asyncio.CancelledError, OSError, TimeoutError):
            pass
        finally:
            writer.close()
            self._tasks.discard(task)


class KeepAliveTests(TestCase):
    """Callers that pause for about as long as the model keeps an idle connection."""

    async def calls(
        self, idle: float, callers: int, pauses: tuple[float, float], *, count: int = COUNT, **how: Any
    ) -> tuple[ClosingModel, list[ModelFailure]]:
        """Let callers make calls, each with a pause after each call.

        Args:
            pauses: the least and the longest pause in seconds.
            how: for the model, ``tls``; for its calls, ``may_repeat``.

        Returns:
            The model, and the failures.
        """
        closing = ClosingModel(idle, how.pop("tls", None))
        settings = Settings(_env_file=None, rmq_url="amqp://x/", model_cacert=certificates() / "cacert.pem")
        client = model_client(reactor, model_tls(settings, lambda *_: None), connections=callers)
        model = Model(reactor, client, url=closing.url(), max_body_bytes=1000, wall_clock=time.time)
        failures: list[ModelFailure] = []
        chance = random.Random(1)

        async def caller(numbers: Iterator[int]) -> None:
            for number in numbers:
                try:
                    await model.call(Message(b"%d" % number), "r1", 30, **how)
                except ModelFailure as failure:
                    failures.append(failure)
                await deferLater(reactor, chance.uniform(*pauses))

        numbers = iter(range(count))
        await gatherResults([Deferred.fromCoroutine(caller(numbers)) for _ in range(callers)], consumeErrors=True)
        await deferToThread(closing.close)
        await deferLater(reactor, 0.1)  # the reactor reads the ends of the connections
        return closing, failures

    def assert_all_once(self, closing: ClosingModel, failures: list[ModelFailure], count: int = COUNT) -> None:
        """Check that no call has failed, and that the model has seen each one once."""
        self.assertEqual([(failure.detail, failure.cause) for failure in failures], [])
        self.assertEqual((len(closing.seen), set(closing.seen.values())), (count, {1}))

    async def test_after_2_seconds(self) -> None:
        """A model that closes a connection after 2 s, with calls at just that distance."""
        self.assert_all_once(*await self.calls(2, 1000, (1.95, 2.02), may_repeat=True))

    async def test_after_20_milliseconds(self) -> None:
        """A model that closes a connection after 20 ms, with calls at any distance up to that."""
        self.assert_all_once(*await self.calls(0.02, 20, (0, 0.022), may_repeat=True))

    async def test_at_once(self) -> None:
        """A model that closes each connection after its response, and has not said so."""
        self.assert_all_once(*await self.calls(0, 1, (0, 0), may_repeat=True))

    async def test_tls(self) -> None:
        """The same over TLS."""
        tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        tls.load_cert_chain(certificates() / "server_cert.pem", certificates() / "server_key.pem")
        for idle, pauses in ((0.0, (0, 0)), (0.02, (0, 0.022))):
            self.assert_all_once(*await self.calls(idle, 10, pauses, count=200, tls=tls, may_repeat=True), count=200)

    async def test_without_leave(self) -> None:
        """Without leave to repeat nothing is sent twice: what has failed, the model has not seen."""
        closing, failures = await self.calls(0, 1, (0, 0), count=500)
        self.assertEqual(set(closing.seen.values()), {1})
        self.assertEqual(len(closing.seen) + len(failures), 500)
