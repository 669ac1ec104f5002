"""Replies that the broker refuses are published again, then replaced by an error reply; then the message is parked."""

from __future__ import annotations

import json
from typing import Any

from tests.support.provider_on_broker import ProviderOnBrokerTestCase


class RefusedReplyTests(ProviderOnBrokerTestCase):
    """The broker closes the publishing channel over a reply."""

    code = 406

    def refuse(self, *bodies: bytes) -> None:
        """Let the broker refuse messages with these bodies, and no others."""
        self.broker.faults.refusal = lambda body: self.code if body in bodies else 0

    def wait(self, seconds: float) -> None:
        """Let the clock run."""
        self.advance(seconds)

    def test_another_message_was_to_blame(self) -> None:
        """After one refusal the same reply is published again: another message may have been the cause."""
        self.refuse(b"[0]")
        for number in (1, 2):
            self.ask(message_id=f"m{number}")
        self.model.answer(200, b"[0]", number=0)
        self.answer(200, b"[1]", number=1)
        self.assert_left(unacked=2)
        self.refuse()
        self.wait(1)
        self.assertEqual([(reply.status, reply.body) for reply in self.take("back")], [(200, b"[0]"), (200, b"[1]")])
        self.assert_left()

    def test_neighbours(self) -> None:
        """A reply that is always refused does not take others with it, however often their channel is closed."""
        self.refuse(b"[0]")
        for number in (1, 2, 3):
            self.ask(message_id=f"m{number}", correlation_id=f"c{number}")
        self.broker.faults.hold_confirms()
        self.model.answer(200, b"[1]", number=1)
        self.model.answer(200, b"[0]", number=0)
        self.model.answer(200, b"[2]", number=2)
        self.broker.faults.release_confirms()
        self.wait(60)
        replies = self.take("back")
        told = {(reply.correlation_id, reply.status) for reply in replies}
        self.assertEqual(told, {("c1", 502), ("c2", 200), ("c3", 200)})
        self.assert_left()

    def test_stand_in(self) -> None:
        """After three refusals an error reply is published in place of the reply, and the delivery is acknowledged."""
        self.refuse(b"[0]")
        self.ask()
        self.answer(200, b"[0]")
        self.wait(0.29)  # two channels were opened again, after 0.1 s and 0.2 s
        self.assert_left(unacked=1)
        self.wait(1)
        self.assert_left(back=1)
        reply = self.taken("back")
        self.assertEqual((reply.status, reply.headers["pg-reason"], reply.correlation_id), (502, "refused", "c1"))
        self.assertEqual(json.loads(reply.body)["rquid"], "r1")

    def test_nothing_is_taken(self) -> None:
        """If the error reply is refused as often, the message is parked, and acknowledged when that is confirmed."""
        self.broker.faults.refusal = lambda body: 0 if body == b"{}" else self.code
        self.ask()
        self.answer(200, b"[0]")
        self.broker.faults.hold_confirms()
        self.wait(10)
        self.assert_left(unacked=1, parking=1)
        self.broker.faults.release_confirms()
        self.pump()
        self.assert_left(parking=1)
        parked = self.taken("work.parking")
        self.assertEqual((parked.body, parked.headers["pg-reason"], self.parked("refused")), (b"{}", "refused", 1))
        self.successResultOf(self.provider.idle())

    def test_refused_copy(self) -> None:
        """A copy that is refused keeps its delivery unacknowledged, and is published again until it is taken."""
        self.ask()
        self.refuse(b"{}")
        self.fail_call()
        self.wait(100)
        self.assert_left(unacked=1)
        self.assertEqual(self.reliable.waiting_for(), ["work.retry"])
        self.refuse()
        self.wait(15)
        self.assert_left(retry=1)
        self.assertEqual(self.reliable.waiting_for(), [])


class ClosedConnectionTests(RefusedReplyTests):
    """The broker closes the publishing connection over a reply; another is opened 0.2 s later."""

    code = 541

    def wait(self, seconds: float) -> None:
        steps = 0
        for _ in range(round(seconds / 0.05)):
            self.advance(0.05)
            steps = 0 if self.publishing.is_open else steps + 1
            if steps == 4:
                steps = 0
                self.open_publisher()

    def test_codes(self) -> None:
        """Every code that blames what was sent is a refusal."""
        for code in (501, 502, 504, 505, 506, 540, 541):
            self.code = code
            self.refuse(b"[0]")
            self.ask()
            self.answer(200, b"[0]")
            self.wait(2)
            self.assertEqual(self.taken("back").headers["pg-reason"], "refused", code)

    def test_other_codes(self) -> None:
        """A connection that the broker closes for its own reasons is no refusal: the reply is published again."""
        for code in (320, 530):
            self.code = code
            self.refuse(b"[0]")
            self.ask()
            self.answer(200, b"[0]")
            self.wait(5)
            self.assert_left(unacked=1)
            self.refuse()
            self.wait(5)
            self.assertEqual(self.taken("back").body, b"[0]", code)

    def test_each_connection_ends(self) -> None:
        """A reply over which each connection ends, for whatever reason, gets its stand-in after some minutes."""
        self.code = 320
        self.refuse(b"[0]")
        self.ask()
        self.answer(200, b"[0]")
        self.wait(60)
        self.assert_left(unacked=1)
        self.wait(60)
        self.assertEqual(self.taken("back").headers["pg-reason"], "refused")
        self.assert_left()


class TooLargeTests(ProviderOnBrokerTestCase):
    """Replies and copies that are larger than the broker takes."""

    def reply(self) -> tuple[int, Any, str]:
        reply = self.taken("back")
        return reply.status, reply.headers.get("pg-reason"), json.loads(reply.body).get("detail", "")

    def test_body(self) -> None:
        """A reply over the broker's max_message_size gets its stand-in after one refusal, which names the limit."""
        self.broker.limits.max_message_size = 1000
        self.ask()
        self.answer(200, bytes(1001))
        self.advance(0.11)
        status, reason, detail = self.reply()
        self.assertEqual((status, reason), (502, "refused"))
        self.assertIn("1001 bytes; the broker takes at most 1000", detail)
        self.assert_left()

    def test_next_body(self) -> None:
        """From then on such replies are not sent: no channel is closed. Those that just fit are."""
        self.broker.limits.max_message_size = 1000
        self.ask()
        self.answer(200, bytes(1001))
        self.advance(0.11)
        self.take("back")
        for size, expected in ((1000, (200, None)), (1001, (502, "refused"))):
            self.ask()
            self.answer(200, b"1" * size)
            self.assertTrue(self.publisher.is_ready)
            reply = self.taken("back")
            self.assertEqual((reply.status, reply.headers.get("pg-reason")), expected)
        self.assert_left()

    def test_beside_a_body(self) -> None:
        """Replies that were sent after the one over max_message_size are published again at once: none was read."""
        self.broker.limits.max_message_size = 1000
        for number in range(3):
            self.ask(message_id=f"m{number}", correlation_id=f"c{number}")
        for number, body in enumerate((bytes(1001), b"[1]", b"[2]")):
            self.model.answer(200, body, number)
        self.pump()
        self.advance(0.11)
        self.assertEqual(
            sorted((reply.correlation_id, reply.status) for reply in self.take("back")),
            [("c0", 502), ("c1", 200), ("c2", 200)],
        )
        self.assert_left()

    def test_copy(self) -> None:
        """A copy over a limit that was lowered meanwhile is kept, and published once the limit is raised."""
        self.ask(body=b"1" * 900)
        self.broker.limits.max_message_size = 800
        self.fail_call()
        self.advance(120)
        self.assert_left(unacked=1)
        self.assertEqual(self.reliable.waiting_for(), ["work.retry"])
        self.broker.limits.max_message_size = 10_000
        self.lose(self.publishing)
        self.open_publisher()
        self.advance(15)
        self.assert_left(retry=1)

    def answer_with(self, headers: dict[str, str]) -> None:
        self.model.answer(**headers)  # type: ignore[arg-type] # mypy thinks of "status", too
        self.pump()

    def with_frames(self, size: int) -> None:
        """Agree on another frame_max, as with another broker of the list."""
        self.broker.limits.frame_max = size
        self.lose(self.publishing)
        self.open_publisher()

    def test_headers(self) -> None:
        """A reply whose headers do not fit a frame gets its stand-in, and the connection stays."""
        self.with_frames(8192)
        self.ask()
        self.answer_with({"x": "x" * 20_000})
        status, reason, detail = self.reply()
        self.assertEqual((status, reason), (502, "refused"))
        self.assertIn("frame_max", detail)
        self.assertTrue(self.publishing.is_open)
        self.assert_left()

    def test_many_headers(self) -> None:
        """The same for many small headers."""
        self.with_frames(4096)
        self.ask()
        self.answer_with({f"x-{number}": "abc" for number in range(400)})
        self.assertEqual(self.reply()[:2], (502, "refused"))
        self.assert_left()

    def test_headers_that_just_fit(self) -> None:
        """Headers that fill the frame are sent; with one byte more, the stand-in is."""
        self.with_frames(4096)
        self.ask()
        self.answer_with({"x": ""})
        reply = self.taken("back")
        room = 4096 - 8 - 12 - len(reply.original)
        for more, expected in ((0, 200), (1, 502)):
            self.ask()
            self.answer_with({"x": "x" * (room + more)})
            self.assertEqual(self.taken("back").status, expected)
        self.assertTrue(self.publishing.is_open)

    def test_smaller_frames_after_a_reconnect(self) -> None:
        """A reply that waits for a connection is measured by the frames of the connection that it gets."""
        self.ask()
        self.lose(self.publishing)
        self.answer_with({"x": "x" * 20_000})
        self.assert_left(unacked=1)
        self.with_frames(8192)
        self.assertEqual(self.reply()[:2], (502, "refused"))
        self.assert_left()

    def test_headers_of_copies(self) -> None:
        """A copy that does not fit loses headers: in each round trip, and into the parking queue."""
        self.ask(headers={"RqUID": "r1", "large": "x" * 9000, "small": "y"})
        self.with_frames(8192)
        for _ in range(2):
            self.fail_call()
            self.assert_left(retry=1)
            self.advance(60)
        self.fail_call()
        parked = self.taken("work.parking")
        kept = {name: value for name, value in parked.headers.items() if not name.startswith("pg-")}
        self.assertEqual(kept, {"RqUID": "r1", "small": "y"})
        self.assertEqual((parked.headers["pg-dropped"], parked.headers["pg-attempt"]), ("large", 3))
        self.assertEqual((parked.body, parked.correlation_id, parked.reply_to), (b"{}", "c1", "back"))

    def test_headers_of_renewed_copies(self) -> None:
        """A copy that counts a redelivery, likewise."""
        self.ask(headers={"RqUID": "r1", "large": "x" * 9000})
        self.with_frames(8192)
        self.die()
        self.assertEqual(self.model.calls[-1][0].headers["pg-dropped"], "large")


class UndeliverableReplyTests(ProviderOnBrokerTestCase):
    """The reply cannot be published, for now or for good."""

    def test_nobody_takes_it(self) -> None:
        """A reply whose queue is deleted is given up: the message is parked, and nothing more is published."""
        self.ask()
        self.delete("back")
        self.answer()
        self.make_queue("back")
        self.advance(60)
        self.assert_left(parking=1)
        parked = self.taken("work.parking")
        self.assertEqual((parked.body, parked.headers["pg-reason"], self.parked("reply")), (b"{}", "reply", 1))

    def test_broker_away(self) -> None:
        """While the broker is away, the delivery stays unacknowledged. Then the reply is published."""
        self.ask()
        self.lose(self.publishing)
        self.answer()
        self.advance(60)
        self.assert_left(unacked=1)
        self.open_publisher()
        self.assert_left(back=1)

    def test_blocked(self) -> None:
        """The same while the broker blocks publishers."""
        self.ask()
        self.broker.faults.block()
        self.pump()
        self.answer()
        self.advance(60)
        self.assert_left(unacked=1)
        self.broker.faults.unblock()
        self.pump()
        self.assert_left(back=1)

    def test_outcome_unknown(self) -> None:
        """A reply whose confirm was lost with the connection is published again with the same message id."""
        self.ask()
        self.broker.faults.swallow_confirms()
        self.answer()
        self.lose(self.publishing)
        self.assert_left(unacked=1, back=1)
        self.open_publisher()
        self.assert_left(back=2)
        self.assertEqual(len({reply.message_id for reply in self.take("back")}), 1)

    def test_refused(self) -> None:
        """A reply that is nacked, because its queue is full, is published again a second later."""
        self.delete("back")
        self.make_queue("back", **{"x-max-length": 1, "x-overflow": "reject-publish"})
        self.put("", "back")
        self.ask()
        self.answer()
        self.take("back")
        self.advance(0.9)
        self.assert_left(unacked=1)
        self.advance(0.1)
        self.assert_left(back=1)
        self.assertEqual(len(self.model.calls), 1)

    def test_delivery_lost_meanwhile(self) -> None:
        """A message without an id is given up if its delivery is lost meanwhile: the broker delivers it again."""
        self.ask(message_id=None)
        self.lose(self.publishing)
        self.answer()
        self.lose(self.consuming)
        self.open_publisher()
        self.assert_left(ready=1)
        self.assertEqual(self.in_flight(), 0)

    def test_delivery_lost_during_the_call(self) -> None:
        """If the delivery is lost during the model call, the reply is published, and nothing is acknowledged."""
        self.ask()
        self.lose(self.consuming)
        self.answer()
        self.assert_left(ready=1, back=1)
        self.successResultOf(self.provider.idle())
        self.assertEqual(self.flushLoggedErrors(), [])
