"""Single AMQP frames are lost between a gateway and the broker, with or without their connection."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pika
from twisted.internet.defer import Deferred, succeed

from tests.faults.base import echo_after
from tests.faults.ledger import fresh_id
from tests.faults.proxy import Action, Direction
from tests.faults.wire import WireTestCase

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.faults.proxy import Frame
    from tests.support.processes import Gateway


class FrameTests(WireTestCase):
    """Single frames are lost, with or without their connection."""

    async def publish(self, gateway: Gateway) -> tuple[int, Any]:
        """POST /v1/publish; returns status and body."""
        response, body = await self.post(gateway, {"n": 1}, path="/v1/publish")
        return response.code, body

    async def test_06_reset_before_the_confirm(self) -> None:
        """The connection is reset instead of the confirm: 504 "outcome unknown" at once, at most one message."""
        gateway = await self.behind(once(Direction.TO_CLIENT, "basic.ack", Action.RESET))
        status, body = await self.publish(gateway)
        self.assertEqual((status, body["type"].rpartition(":")[2]), (504, "outcome-unknown"))
        self.assertLessEqual(await self.queued(), 1)

    async def test_06_under_load(self) -> None:
        """Connections are reset at every 40th confirm, under load: nothing is lost."""
        resets = every(40, Direction.TO_CLIENT, "basic.ack", Action.RESET)
        self.proxied(on_frame=resets)
        gateway = await self.gateway()
        await self.load(gateway)
        await self.confirmed(150)
        self.proxy.on_frame = None
        await self.finish(faults=resets.count)
        self.assertGreater(resets.count, 2)

    async def test_31_each_connection_ends(self) -> None:
        """Each connection on which a certain reply is sent is reset: others get through, more and more of them."""
        seen: list[Frame] = []

        def reset(frame: Frame) -> Action:
            if frame.direction is not Direction.TO_TARGET or b"poison" not in frame.raw:
                return Action.PASS
            seen.append(frame)
            return Action.RESET

        self.proxied(on_frame=reset)
        gateway = await self.gateway()
        await self.load(gateway)
        echo = self.model.answer
        self.model.answer = lambda body: succeed((200, b'"poison"')) if b'"odd-' in body else echo(body)
        request = fresh_id("odd")
        self.ledger.sent(request)
        properties = pika.BasicProperties(message_id=request, headers={"RqUID": request})
        body = json.dumps({"id": request}).encode()
        await self.on_channel(lambda c: c.basic_publish(self.exchange, "predict.now", body, properties))
        self.ledger.confirmed(request)

        def is_kept_back() -> bool:
            """True if the connection is open again after the reply was kept back the third time, for 4 s."""
            lines = [line["message"] for line in gateway.log]
            waits = [number for number, line in enumerate(lines) if "the reply waits" in line]
            return len(waits) == 3 and any("publish is open" in line for line in lines[waits[-1] :])

        await gateway.when(is_kept_back)
        self.http.answers.clear()
        await self.until("callers", lambda: len(self.http.answers) >= 20)
        self.assertEqual(set(self.http.statuses), {200})
        self.proxy.on_frame = None
        await self.finish(faults=len(seen))

    async def test_07_confirm_swallowed(self) -> None:
        """A confirm never comes: 504 at the time limit; the next publish is confirmed."""
        gateway = await self.behind(once(Direction.TO_CLIENT, "basic.ack", Action.DROP), REPLY_TIMEOUT="1")
        status, body = await self.publish(gateway)
        self.assertEqual((status, body["type"].rpartition(":")[2]), (504, "outcome-unknown"))
        self.assertEqual((await self.publish(gateway))[0], 202)
        self.assertEqual(await self.queued(), 2)

    async def test_08_cut_within_a_frame(self) -> None:
        """Connections are cut in the middle of frames, both ways, under load: no partial message, nothing lost."""
        cuts = [
            every(60, Direction.TO_TARGET, "body", Action.CUT),
            every(60, Direction.TO_CLIENT, "body", Action.CUT),
            every(90, Direction.TO_TARGET, "basic.publish", Action.CUT),
        ]
        self.proxied(on_frame=first_of(*cuts))
        gateway = await self.gateway()
        await self.load(gateway)
        await self.confirmed(200)
        self.proxy.on_frame = None
        faults = sum(cut.count for cut in cuts)
        await self.finish(faults)
        self.assertGreater(faults, 4)

    async def test_16_killed_before_the_confirm(self) -> None:
        """SIGKILL between the reply and its confirm: at most one more call and reply for each message."""
        await self.killed_at(Direction.TO_CLIENT)

    async def test_16_killed_after_the_confirm(self) -> None:
        """SIGKILL between confirm and acknowledgement: at most one more call and reply for each message."""
        await self.killed_at(Direction.TO_TARGET)

    async def killed_at(self, direction: Direction) -> None:
        """Kill a provider after 10 model calls, while its confirms or acknowledgements are held."""
        held: Deferred[None] = Deferred()
        seen: list[Frame] = []

        def hold(frame: Frame) -> Action:
            if frame.direction is not direction or frame.name != "basic.ack":
                return Action.PASS
            seen.append(frame)
            if not held.called:
                held.callback(None)
            return Action.HOLD

        self.proxied(on_frame=hold)
        killed = await self.gateway("--role", "provider")
        self.amqp = self.initiator()
        published = self.amqp.publish(10)
        await held
        await published
        await self.model.asked(10)
        await killed.kill()
        self.proxy.on_frame = None
        self.proxy.reset()
        await self.gateway("--role", "provider")
        await self.drained()
        self.ledger.check(self, duplicates_at_most=10)
        self.assertLessEqual(len(self.model.requests), 20)
        self.assertTrue(seen)

    async def test_17_ack_lost(self) -> None:
        """The acknowledgement of a replied message is lost: its redelivery is acknowledged without a model call."""
        channels: set[tuple[int, int]] = set()
        name = self.queue.encode()
        lost: list[Frame] = []

        def lose(frame: Frame) -> Action:
            if frame.name == "basic.consume" and name in frame.raw:
                channels.add((frame.connection, frame.channel))
            work = (frame.connection, frame.channel) in channels
            if work and frame.direction is Direction.TO_TARGET and frame.name == "basic.ack" and not lost:
                lost.append(frame)
                return Action.RESET
            return Action.PASS

        self.proxied(on_frame=lose)
        gateway = await self.gateway()
        response, _ = await self.post(gateway, {"n": 1})
        self.assertEqual(response.code, 200)
        await gateway.logged("lost")
        await self.reconnected_and_quiet(gateway)
        _, metrics = await self.admin(gateway, "/metrics")
        self.assertIn(f'redelivered_total{{queue="{self.queue}",state="settled"}} 1.0', metrics)
        self.assertEqual(len(self.model.requests), 1)
        self.assertEqual(await self.queued(), 0)

    async def test_17_running(self) -> None:
        """Connections are lost during the model call: the redelivery is adopted; one call, one reply."""
        self.model.answer = echo_after(3)
        self.proxied()
        gateway = await self.gateway()
        self.amqp = self.initiator()
        published = self.amqp.publish(10)
        await self.model.asked(10)
        self.proxy.reset()
        await published
        await self.drained()
        self.ledger.check(self, duplicates_at_most=0)
        self.assertEqual(len(self.model.requests), 10)
        _, metrics = await self.admin(gateway, "/metrics")
        self.assertIn(f'redelivered_total{{queue="{self.queue}",state="running"}} 10.0', metrics)

    async def behind(self, judge: Callable[[Frame], Action], **variables: str) -> Gateway:
        """A process of the gateway role whose frames pass through ``on_frame``."""
        self.proxied(on_frame=judge)
        return await self.gateway("--role", "gateway", **variables)

    async def reconnected_and_quiet(self, gateway: Gateway) -> None:
        """Wait until the consumer is back, and its first deliveries are settled."""
        await self.reconnections(gateway, 2)
        response, _ = await self.post(gateway, {"n": 2})
        self.assertEqual(response.code, 200)
        self.model.requests.pop()

    async def reconnections(self, gateway: Gateway, count: int) -> None:
        """Wait until the consuming connection has been opened this many times."""
        text = "AMQP connection consume is open"
        await gateway.when(lambda: sum(text in line["message"] for line in gateway.log) >= count)


class every:  # noqa: N801 - reads as a word: every 40th confirm
    """Decides about one kind of frame: every n-th gets an action, the others pass.

    Attributes:
        count: how often the action was taken.
    """

    def __init__(self, number: int, direction: Direction, name: str, action: Action) -> None:
        self.count = 0
        self._number, self._direction, self._name, self._action = number, direction, name, action
        self._seen = 0

    def __call__(self, frame: Frame) -> Action:
        if frame.direction is not self._direction or frame.name != self._name:
            return Action.PASS
        self._seen += 1
        if self._seen % self._number:
            return Action.PASS
        self.count += 1
        return self._action


def once(direction: Direction, name: str, action: Action) -> Callable[[Frame], Action]:
    """Decides about the first frame of a kind."""
    seen: list[Frame] = []

    def judge(frame: Frame) -> Action:
        if seen or frame.direction is not direction or frame.name != name:
            return Action.PASS
        seen.append(frame)
        return action

    return judge


def first_of(*judges: Callable[[Frame], Action]) -> Callable[[Frame], Action]:
    """Asks several deciders; the first action other than PASS counts."""

    def judge(frame: Frame) -> Action:
        wanted = [action for each in judges if (action := each(frame)) is not Action.PASS]
        return wanted[0] if wanted else Action.PASS

    return judge
