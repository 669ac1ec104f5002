"""The wall clock of the gateways is set forward and back: no duration follows it. Broker and model keep their time."""

from __future__ import annotations

import os
import signal
import socket
import ssl
import time
from typing import TYPE_CHECKING, Any

import yaml
from twisted.internet import reactor
from twisted.internet.defer import Deferred, gatherResults
from twisted.internet.threads import deferToThread

from tests.faults.serving import ServingTestCase
from tests.support.certificates import certificates
from tests.support.stepped_clock import SteppedClock

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.support.processes import Gateway

HALF_AN_HOUR, HOUR, YEAR = 1800, 3600, 365 * 86_400
#: Seconds of the limits under test, and how much later they may come about on a busy machine.
LIMIT, SLACK = 2, 4
HEARTBEAT = 2
_HEAD = (
    b"POST /v1/predict HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nrouting-key: predict.now\r\n"
)


class SlowClient:
    """A client that sends half of a request's headers."""

    def __init__(self, port: int) -> None:
        tls = ssl.create_default_context(cafile=str(certificates() / "cacert.pem"))
        tls.load_cert_chain(certificates() / "client_cert.pem", certificates() / "client_key.pem")
        raw = socket.create_connection(("127.0.0.1", port), 30)
        self._socket = tls.wrap_socket(raw, server_hostname="localhost")
        self._socket.sendall(_HEAD)
        self.began = time.monotonic()

    def finish(self) -> None:
        """Send the rest."""
        self._socket.sendall(b"Content-Length: 1\r\n\r\n1")

    def status(self) -> tuple[int, float]:
        """The status of the response, and the seconds since the client began."""
        with self._socket:
            head = self._socket.recv(65_536)
        return int(head.split(b" ")[1]), time.monotonic() - self.began


class ClockStepTestCase(ServingTestCase):
    """Gateways with a wall clock that the test sets; it begins two hours ahead, so that certificates stay valid."""

    async def setUp(self) -> None:
        await super().setUp()
        self.wall = SteppedClock(self.folder)
        self.wall.step(2 * HOUR)

    def serve(self, *arguments: str, **variables: str) -> Gateway:
        ours = {
            "RMQ_URL": f"{self.broker.url}?heartbeat={HEARTBEAT}",
            "REPLY_TIMEOUT": str(LIMIT),
            "MODEL_TIMEOUT": "30",
            "HTTP_HEADERS_TIMEOUT": str(LIMIT),
            "DRAIN_TIMEOUT": str(LIMIT),
        }
        return super().serve(*arguments, **{**ours, **self.wall.environment, **variables})

    def ask(self, gateway: Gateway, body: object = None, **headers: str) -> Deferred[tuple[int, float]]:
        """Post a request; the Deferred has the status, and the seconds that it took."""

        async def asked() -> tuple[int, float]:
            began = time.monotonic()
            response, _ = await self.post(gateway, body, **headers)
            return response.code, time.monotonic() - began

        return Deferred.fromCoroutine(asked())

    def slow_client(self, port: int) -> Deferred[SlowClient]:
        return deferToThread(SlowClient, port)

    def assert_in_time(self, status: int, *answers: tuple[int, float]) -> None:
        """Check that each answer has this status, and came when the limit was over."""
        for found, seconds in answers:
            self.assertEqual(found, status)
            self.assertTrue(LIMIT - 0.2 < seconds < LIMIT + SLACK, f"after {seconds:.2f} s")

    async def assert_connected(self, gateway: Gateway) -> None:
        """Check that no connection to the broker was lost."""
        self.assertEqual([], [line for line in gateway.log if "is lost" in line["message"]])
        self.assertEqual(await self.metric(gateway, "amqp_reconnects_total"), 0)

    async def is_ready(self, gateway: Gateway) -> bool:
        return (await self.ready(gateway))[0] == 200


class BackTests(ClockStepTestCase):
    """The clock is set back."""

    async def test_30_set_back(self) -> None:
        """REPLY_TIMEOUT, the limit of a slow client, heartbeats of both sides, and the drain go on in real time."""
        gateway = await self.serve().ready()
        self.hold()
        before = self.ask(gateway)
        slow = await self.slow_client(await gateway.port("https"))
        await self.model.asked()
        self.wall.step(-HALF_AN_HOUR)
        after = self.ask(gateway)
        later_slow = await self.slow_client(await gateway.port("https"))
        self.assert_in_time(504, *await gatherResults([before, after, self.ask(gateway)]))
        self.assert_in_time(408, *[await deferToThread(each.status) for each in (slow, later_slow)])
        # RabbitMQ drops a client after two to three intervals without a heartbeat.
        began = time.monotonic()
        self.assert_in_time(504, await self.ask(gateway))
        self.wall.step(-HALF_AN_HOUR)
        self.assert_in_time(504, await self.ask(gateway))
        self.assertGreater(time.monotonic() - began, 2 * LIMIT - 0.2)
        await self.assert_connected(gateway)

        self.node.suspend()
        self.wall.step(-HALF_AN_HOUR)
        silent = f"no heartbeat from the broker for {2 * HEARTBEAT} s"
        began = time.monotonic()
        await self.logged_again(gateway, silent, seconds=3 * HEARTBEAT + SLACK)
        self.assertGreater(time.monotonic() - began, HEARTBEAT - 0.5)
        self.node.resume()
        self.wall.step(-HALF_AN_HOUR / 2)
        await self.look_until("ready again", lambda: self.is_ready(gateway))
        stays = self.ask(gateway)
        await self.model.asked(len(self.model.requests) + 1)
        began = time.monotonic()
        gateway.signal("TERM")
        await gateway.logged("draining")
        self.wall.step(-HALF_AN_HOUR / 2)
        self.assertEqual(await gateway.when_ended(), 0)
        self.assertLess(time.monotonic() - began, LIMIT + SLACK)
        self.assertEqual((await stays)[0], 504)

    async def test_30_model_retry_and_rate(self) -> None:
        """The time limit of a model call goes on; so does the next attempt's, and the rate of an access file."""
        self.keys |= {"timeout": LIMIT, "dle": True, "retryDelay": 500, "maxAttempts": 2}
        access = self.folder / "access.yaml"
        access.write_text(yaml.safe_dump([{"identities": ["*"], "routingKeys": ["#"], "rate": 0.5, "burst": 1}]))
        gateway = await self.serve(REPLY_TIMEOUT="30", HTTP_ACCESS=str(access.resolve())).ready()
        self.hold()
        began = time.monotonic()
        asked = self.ask(gateway)
        await self.model.asked()
        self.assertEqual((await self.ask(gateway))[0], 429)
        self.wall.step(HOUR)
        self.assertEqual((await self.ask(gateway))[0], 429, "an hour has filled the bucket")
        self.wall.step(-HOUR - HALF_AN_HOUR)
        await self.model.asked(2)
        self.assertTrue(LIMIT < time.monotonic() - began < LIMIT + SLACK)
        self.wall.step(-HALF_AN_HOUR)
        # The bucket has filled again by now: two seconds, whatever the clock says.
        second = self.ask(gateway, None)
        self.assertEqual((await asked)[0], 502)
        self.assertTrue(2 * LIMIT < time.monotonic() - began < 2 * LIMIT + SLACK + 1)
        second.cancel()
        second.addErrback(lambda _: None)
        await self.model.asked(3)


class ForwardTests(ClockStepTestCase):
    """The clock is set forward."""

    async def test_30_set_forward(self) -> None:
        """Requests in the model, in the queue and half sent survive, and so do connections."""
        self.keys["prefetch"] = 1
        gateway = await self.serve(REPLY_TIMEOUT="30", HTTP_HEADERS_TIMEOUT="30").ready()
        await self.survive(gateway, gateway)

    async def test_30_certificates(self) -> None:
        """Certificates do follow the wall clock: past its end a client gets 403, and after a step back 200 again."""
        gateway = await self.serve().ready()
        self.assertEqual((await self.ask(gateway))[0], 200)
        self.wall.step(YEAR)
        self.assertEqual((await self.ask(gateway))[0], 403)
        self.assertLess(await self.metric(gateway, 'certificate_expiry_seconds{side="server"}'), 0)
        self.wall.step(-YEAR)
        self.assertEqual((await self.ask(gateway))[0], 200)
        await self.assert_connected(gateway)

    async def test_30_set_forward_two_processes(self) -> None:
        """So do those whose messages wait for a provider in another process, whose clock is set, too."""
        self.keys["prefetch"] = 1
        variables = {"REPLY_TIMEOUT": "30", "HTTP_HEADERS_TIMEOUT": "30"}
        gateway = await self.serve("--role", "gateway", **variables).ready()
        provider = await self.serve("--role", "provider", **variables).ready()
        await self.survive(gateway, provider)

    async def survive(self, gateway: Gateway, provider: Gateway) -> None:
        released = self.hold()
        slow = await self.slow_client(await gateway.port("https"))
        asked = [self.ask(gateway) for _ in range(3)]
        await self.model.asked()
        await self.look_until("two in the queue", lambda: self.has_waiting(self.queue, 2))
        self.wall.step(HOUR)
        more = self.ask(gateway)
        slow.finish()
        await self.look_until("four in the queue", lambda: self.has_waiting(self.queue, 4))
        self.wall.step(HOUR)
        released.callback(None)
        found = await gatherResults([*asked, more])
        self.assertEqual([200] * 4, [status for status, _ in found])
        self.assertEqual((await deferToThread(slow.status))[0], 200)
        for each in (gateway, provider):
            await self.assert_connected(each)
        self.assertEqual(await self.metric(provider, "expired_total"), 0)
        provider.signal("TERM")
        await provider.logged("draining")
        self.wall.step(HOUR)
        self.assertEqual(await provider.when_ended(), 0)


class WorkersTests(ClockStepTestCase):
    """A supervisor and its workers."""

    async def test_30_workers(self) -> None:
        """Requests keep their limits and survive, and a worker that died is started again after its pause."""
        gateway = self.serve(WORKERS="2", REPLY_TIMEOUT=str(LIMIT))
        await gateway.ready()
        released = self.hold()
        asked = [self.ask(gateway) for _ in range(4)]
        await self.model.asked(4)
        self.wall.step(HOUR)
        released.callback(None)
        self.assertEqual([200] * 4, [status for status, _ in await gatherResults(asked)])
        self.hold()
        asked = [self.ask(gateway) for _ in range(4)]
        await self.model.asked(8)
        self.wall.step(-HOUR)
        self.assert_in_time(504, *await gatherResults(asked))
        (worker, *_) = children(gateway)
        again = gateway.when(restarted(gateway))
        os.kill(worker, signal.SIGKILL)
        await gateway.logged("it is started again")
        self.wall.step(-HALF_AN_HOUR)
        await again.addTimeout(20, reactor)
        gateway.signal("TERM")
        self.assertEqual(await gateway.when_ended(), 0)


def children(gateway: Gateway) -> list[int]:
    """The worker processes of a supervisor."""
    transport: Any = gateway.transport
    with open(f"/proc/{transport.pid}/task/{transport.pid}/children", encoding="ascii") as file:
        return [int(each) for each in file.read().split()]


def restarted(gateway: Gateway) -> Callable[[], bool]:
    """Whether a worker has become ready since now."""
    seen = len(gateway.log)
    return lambda: any(line["message"] == "ready" and "worker" in line for line in gateway.log[seen:])
