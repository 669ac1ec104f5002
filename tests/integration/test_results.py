"""Answers that can wait, with real processes, a real broker and SQLite: wherever a request goes, its answer is kept."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from twisted.internet import reactor
from twisted.internet.defer import Deferred, DeferredQueue
from twisted.internet.task import deferLater

from tests.support.integration import IntegrationTestCase
from tests.support.rabbitmq import delete_result_objects

if TYPE_CHECKING:
    from tests.support.processes import Gateway


class ResultsTests(IntegrationTestCase):
    """Gateways that share one database; a provider of its own, which is not killed."""

    async def setUp(self) -> None:
        await super().setUp()
        self.addCleanup(self.on_channel, lambda channel: delete_result_objects(channel, self.output))
        self.answers: DeferredQueue[Deferred[tuple[int, bytes]]] = DeferredQueue()

    def hold(self, _body: bytes) -> Deferred[tuple[int, bytes]]:
        """Let a call of the model wait."""
        answer: Deferred[tuple[int, bytes]] = Deferred()
        self.answers.put(answer)
        return answer

    async def gateway(self, **variables: str) -> Gateway:
        """A gateway on the database of this test."""
        url = f"sqlite://{(self.folder / 'results.db').resolve()}"
        return await self.start("--role", "gateway", RESULT_STORE=url, **variables).ready()

    async def provider(self) -> Gateway:
        return await self.start("--role", "provider").ready()

    async def get(self, gateway: Gateway, path: str, **headers: str) -> tuple[int, bytes, Any]:
        """GET from a gateway; returns status, body and headers."""
        sent = {name.replace("_", "-"): value for name, value in headers.items()}
        url = f"https://localhost:{await gateway.port('https')}{path}"
        response = await self.client.get(url, headers=sent)
        return response.code, await response.content(), response.headers

    async def accepted(self, gateway: Gateway, body: object = (1,)) -> str:
        """Submit a request; returns its location."""
        response, document = await self.post(gateway, body, Prefer="respond-async")
        self.assertEqual((response.code, document["status"]), (202, "pending"))
        (location,) = response.headers.getRawHeaders("Location")
        self.assertEqual(location, f"/v1/requests/{document['id']}")
        return str(location)

    async def result(self, gateway: Gateway, location: str) -> tuple[int, bytes]:
        """Wait for a result."""
        status, body, _ = await self.get(gateway, f"{location}/result", Prefer="wait=20")
        return status, body

    async def test_round_trip(self) -> None:
        """Submit, wait, fetch: the model's bytes and headers come back, and the status document says so."""
        gateway, _ = await self.gateway(), await self.provider()
        location = await self.accepted(gateway, {"n": [7, "\u00e9"]})
        status, body, headers = await self.get(gateway, f"{location}/result", Prefer="wait=20")
        self.assertEqual((status, body, headers.getRawHeaders("X-Model")), (200, b'{"n": [7, "\\u00e9"]}', ["test"]))
        status, body, _ = await self.get(gateway, location)
        self.assertEqual(status, 200)
        self.assertIn(b'"status": "succeeded"', body)

    async def test_two_gateways(self) -> None:
        """A long-poll is answered, whichever gateway stores the answer."""
        self.model.answer = self.hold
        one, other, _ = await self.gateway(), await self.gateway(), await self.provider()
        for number in range(1, 7):  # the gateways take turns to store
            location = await self.accepted(one, [number])
            waits = [Deferred.fromCoroutine(self.result(each, location)) for each in (one, other)]
            (await self.answers.get()).callback((200, b"%d" % number))
            for each in waits:
                self.assertEqual(await each, (200, b"%d" % number))

    async def test_gateway_is_killed(self) -> None:
        """What is pending when its gateway is killed is stored by another one; so is what nobody was told of yet."""
        self.model.answer = self.hold
        one, _ = await self.gateway(REPLY_QUEUE_EXPIRES="10"), await self.provider()
        location = await self.accepted(one)
        plain = Deferred.fromCoroutine(self.post(one, [2]))
        plain.addErrback(lambda _: None)
        answers = [await self.answers.get() for _ in range(2)]
        one.signal("KILL")
        await one.when_ended()
        other = await self.gateway()
        for number, answer in enumerate(answers):
            answer.callback((200, b"%d" % number))
        self.assertEqual((await self.result(other, location))[0], 200)
        # The plain one's reply waits in the queue of the dead gateway, which dead-letters it after a second.
        found: set[bytes] = set()
        while len(found) < 2:
            await self.tick()
            _, body, _ = await self.get(other, "/v1/requests?status=succeeded")
            found = {part.split(b'"')[3] for part in body.split(b"{") if b'"id"' in part}

    async def tick(self) -> None:
        """Wait a little for the broker, which tells nobody when it dead-letters."""
        await deferLater(reactor, 0.3)

    async def test_late_answer(self) -> None:
        """After a 504 the late answer can be fetched at the location that the 504 names, at another gateway, too."""
        self.model.answer = self.hold
        one, other, _ = await self.gateway(REPLY_TIMEOUT="1"), await self.gateway(), await self.provider()
        response, document = await self.post(one, [1])
        (location,) = response.headers.getRawHeaders("Location")
        self.assertEqual((response.code, document["uid"]), (504, location.rpartition("/")[2]))
        waiting = Deferred.fromCoroutine(self.result(other, location))
        (await self.answers.get()).callback((200, b"13"))
        self.assertEqual(await waiting, (200, b"13"))
        self.assertEqual(await self.result(one, location), (200, b"13"))

    async def test_drain(self) -> None:
        """SIGTERM: a long-poll ends with 202, a plain request with 504, and both answers can be fetched elsewhere."""
        self.model.answer = self.hold
        one = await self.gateway(DRAIN_TIMEOUT="2", REPLY_QUEUE_EXPIRES="10")
        other, _ = await self.gateway(), await self.provider()
        location = await self.accepted(one)
        poll = Deferred.fromCoroutine(self.result(one, location))
        plain = Deferred.fromCoroutine(self.post(one, [2]))
        answers = [await self.answers.get() for _ in range(2)]
        one.signal("TERM")
        self.assertEqual((await poll)[0], 202)
        response, _ = await plain
        self.assertEqual((response.code, await one.when_ended()), (504, 0))
        (late,) = response.headers.getRawHeaders("Location")
        for answer in answers:
            answer.callback((200, b"13"))
        for each in (location, late):
            self.assertEqual(await self.result(other, each), (200, b"13"))
