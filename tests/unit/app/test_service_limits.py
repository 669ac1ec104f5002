"""The broker's limits in a whole process: what does not fit is refused, and everything else goes on."""

from __future__ import annotations

from twisted.internet.testing import EventLoggingObserver
from twisted.logger import formatEvent, globalLogPublisher

from tests.support.model_peer import response
from tests.support.service import ServiceTestCase

LARGE = "X-Large: " + "x" * 9000


class LimitsTestCase(ServiceTestCase):
    """A broker whose limits change; the process connects anew."""

    def setUp(self) -> None:
        super().setUp()
        self.logged = EventLoggingObserver.createWithCleanup(self, globalLogPublisher)

    def limit(self, name: str, value: int) -> None:
        """Set a limit of the broker, and let the process reconnect."""
        setattr(self.broker.limits, name, value)
        self.break_connections()
        self.advance(3)

    def lines(self, text: str) -> list[str]:
        """The log lines with a text."""
        return [line for each in self.logged if text in (line := str(formatEvent(each)))]

    def answer_with(self, *headers: str, number: int = -1) -> None:
        """Answer a call of the model with these header lines."""
        call = self.calls[number]
        call.respond(response(200, b"42", *headers, "Connection: close"))
        call.close()
        self.pump()


class FrameMaxTests(LimitsTestCase):
    """``frame_max = 8192``."""

    def setUp(self) -> None:
        super().setUp()
        self.limit("frame_max", 8192)
        self.connections = len(self.links)

    def assert_unbroken(self) -> None:
        """Check that no connection was lost, and that nothing is left."""
        self.assertEqual((len(self.links), self.service.waiting_for()), (self.connections, []))
        self.assert_settled()

    def test_requests(self) -> None:
        """Request headers that do not fit are 431 at once, on both routes. Others on the connection are served."""
        for path in ("/v1/predict", "/v1/publish"):
            problem = self.answered(self.post(b"[1]", path, LARGE)).problem
            self.assertEqual((problem["status"], problem["type"].rpartition(":")[2]), (431, "headers-too-large"))
            self.assertIn("frame_max", problem["detail"])
        client = self.post(b"[1]", "/v1/predict", LARGE[:7000])
        self.answer()
        self.assertEqual((self.answered(client).status, len(self.calls)), (200, 1))
        self.assert_unbroken()

    def test_reply(self) -> None:
        """Headers of a model that do not fit are 502 for their caller. The caller beside it gets its response."""
        one, other = self.post(), self.post()
        self.answer_with("X-Large: " + "x" * 20_000, number=0)
        self.answer(number=1)
        self.assertIn("frame_max", self.answered(one).problem["detail"])
        self.assertEqual((self.answered(one).status, self.answered(other).status), (502, 200))
        self.assert_unbroken()

    def test_copy(self) -> None:
        """A retry copy that our headers push over the limit loses a header, comes back, and is served."""
        self.ask(headers={"RqUID": "r1", "x-large": "x" * 8080})
        self.answer(500)
        self.advance(60)
        self.answer()
        (reply,) = self.take("back")
        self.assertEqual((reply.status, reply.headers["RqUID"], len(self.calls)), (200, "r1", 2))
        self.assertEqual(len(self.lines("A copy has lost headers")), 1)
        self.assert_unbroken()

    def test_another_broker(self) -> None:
        """A message that was accepted with large frames is served with small ones."""
        self.limit("frame_max", 131_072)
        client = self.post(b"[1]", "/v1/predict", LARGE)
        self.limit("frame_max", 4096)
        self.answer(500)
        self.advance(60)
        self.answer()
        self.assertEqual(self.answered(client).status, 200)
        self.assert_settled()


class MaxMessageSizeTests(LimitsTestCase):
    """``max_message_size = 600``."""

    def setUp(self) -> None:
        super().setUp()
        self.limit("max_message_size", 600)

    def test_requests(self) -> None:
        """A body over the limit is 413. The next such body harms no other request."""
        body = b"[" + b"1" * 600 + b"]"
        problem = self.answered(self.post(body)).problem
        self.assertEqual((problem["status"], problem["type"].rpartition(":")[2]), (413, "body-too-large"))
        self.assertIn("max_message_size", problem["detail"])
        self.advance(1)
        other = self.post()
        for path in ("/v1/predict", "/v1/publish"):
            self.assertEqual(self.answered(self.post(body, path)).status, 413)
        self.answer()
        self.assertEqual((self.answered(other).status, len(self.calls)), (200, 1))
        self.assertEqual(len(self.lines("The publishing channel was closed")), 1)

    def test_beside_the_first(self) -> None:
        """A request whose confirm is lost with the channel, since the next one is refused, gets its response."""
        self.broker.faults.hold_confirms()
        before = self.post()
        self.assertEqual(self.answered(self.post(b"[" + b"1" * 600 + b"]")).status, 413)
        self.broker.faults.release_confirms()
        self.assertEqual(before.responses(), [])
        self.advance(1)
        self.answer()
        self.assertEqual(self.answered(before).status, 200)
        self.assert_settled()

    def test_reply(self) -> None:
        """A model's response over the limit is 502."""
        client = self.post()
        self.answer(body=b"1" * 601)
        self.advance(1)
        self.assertIn("max_message_size", self.answered(client).problem["detail"])
        self.assertEqual(self.answered(client).status, 502)
        self.assert_settled()


class ClosedConnectionTests(LimitsTestCase):
    """The broker closes the connection over one of our messages."""

    def test_reply(self) -> None:
        """The reply is found among its neighbours and replaced; requests meanwhile and afterwards are served."""
        self.broker.faults.refusal = lambda body: 501 if body == b"42" else 0
        client = self.post()
        self.answer()
        self.advance(20)
        self.assertEqual(self.answered(client).status, 502)
        other = self.post()
        self.answer(body=b"43")
        self.assertEqual((self.answered(other).status, self.service.waiting_for()), (200, []))
        self.assert_settled()

    def test_request(self) -> None:
        """A request that was alone on its connection is 504 publish-refused. Later ones are served."""
        self.broker.faults.refusal = lambda body: 541 if body == b"[0]" else 0
        problem = self.answered(self.post(b"[0]")).problem
        self.assertEqual((problem["status"], problem["type"].rpartition(":")[2]), (504, "publish-refused"))
        self.advance(3)
        client = self.post()
        self.answer()
        self.assertEqual(self.answered(client).status, 200)


class ChannelMaxTests(LimitsTestCase):
    """``channel_max``: the process needs three channels to consume two queues, and two to publish."""

    def test_too_few(self) -> None:
        """With too few, the process is not ready, and each attempt logs one line: what there is, what is needed."""
        for allowed, lost in ((1, ["publish", "consume"]), (2, ["consume"])):
            self.limit("channel_max", allowed)
            for each in lost:
                self.assertIn(f"AMQP connection {each}", self.service.waiting_for())
            there = "1 channel" if allowed == 1 else "2 channels"
            needed = f"the broker allows {there} on a connection, and 3 are needed: raise its channel_max"
            self.assertGreaterEqual(len(self.lines(needed)), 1)
            self.assertEqual(self.flushLoggedErrors(), [])
        before = len(self.lines("are needed"))
        self.advance(60)
        self.assertLess(len(self.lines("are needed")) - before, 10)
        self.limit("channel_max", 3)
        self.advance(20)
        self.assertEqual(self.service.waiting_for(), [])

    def test_enough(self) -> None:
        """With just enough, everything works, and consumers are opened again."""
        self.limit("channel_max", 3)
        for _ in range(3):
            self.assertEqual(self.service.waiting_for(), [])
            client = self.post()
            self.answer()
            self.assertEqual(self.answered(client).status, 200)
            self.delete("work")
            self.advance(3)
