"""One AMQP connection: how it is opened, the reasons of its loss, and that it always ends."""

from __future__ import annotations

from pika import spec
from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectionLost as TCPConnectionLost
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from provider_gateway.amqp.channels import TooFewChannels
from provider_gateway.amqp.session import CLOSE_GRACE, ConnectionLost, Session
from tests.support.amqp_peer import HEARTBEAT, Peer, content, new_peer, open_peer, run

#: pika looks for signs of life this often (seconds).


class HandshakeTests(SynchronousTestCase):
    """From the first byte to the end of the handshake."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.peer = new_peer(self.clock)
        self.session: Session = self.peer.protocol

    def reason_of_failed_open(self) -> str:
        opening = Deferred.fromCoroutine(self.session.open())
        self.peer.pump()
        return str(self.failureResultOf(opening, ConnectionLost).value)

    def test_no_delay(self) -> None:
        """Nagle's algorithm is off and TCP keep-alive on from the start."""
        self.assertTrue(self.peer.transport.no_delay)
        self.assertTrue(self.peer.transport.keep_alive)

    def test_opens(self) -> None:
        """open() returns with the broker's Open-Ok, not before."""
        self.peer.frozen = True
        opening = Deferred.fromCoroutine(self.session.open())
        self.peer.pump()
        self.assertNoResult(opening)
        self.peer.frozen = False
        self.peer.pump()
        self.successResultOf(opening)
        self.assertTrue(self.session.is_open)

    def test_refused_login(self) -> None:
        """If the broker refuses the login, the reason has its words."""
        text = "ACCESS_REFUSED - Login was refused using authentication mechanism PLAIN."
        self.peer.answers[spec.Connection.StartOk] = lambda _: spec.Connection.Close(403, text, 0, 0)
        self.assertEqual(self.reason_of_failed_open(), f"refused by the broker: 403 {text}")

    def test_refused_virtual_host(self) -> None:
        """If the broker refuses the virtual host, the reason has its words."""
        text = "NOT_ALLOWED - vhost nowhere not found"
        self.peer.answers[spec.Connection.Open] = lambda _: spec.Connection.Close(530, text, 10, 40)
        self.assertIn(text, self.reason_of_failed_open())

    def test_refusal_in_pieces(self) -> None:
        """A refusal is understood even if it arrives byte by byte."""
        self.peer.answers[spec.Connection.StartOk] = None
        opening = Deferred.fromCoroutine(self.session.open())
        self.peer.pump()
        for byte in Peer.marshal(spec.Connection.Close(403, "go away", 0, 0)):
            self.peer.receive(bytes([byte]))
        self.assertIn("403 go away", str(self.failureResultOf(opening, ConnectionLost).value))

    def test_lost_during_handshake(self) -> None:
        """If the connection is lost during the handshake, open() fails with TCP's reason."""
        self.peer.frozen = True
        opening = Deferred.fromCoroutine(self.session.open())
        self.peer.lose(TCPConnectionLost("reset"))
        self.failureResultOf(opening, ConnectionLost)
        self.assertIn("reset", str(self.successResultOf(self.session.when_lost())))

    def test_lost_before_open_is_called(self) -> None:
        """If the connection is lost before open() is called, there is no unhandled error."""
        self.peer.lose()
        self.assertFalse(self.session.is_open)
        self.assertEqual(self.flushLoggedErrors(), [])

    def test_cancelled_open(self) -> None:
        """Cancelling open() does not reach pika, which finishes the handshake later."""
        opening = Deferred.fromCoroutine(self.session.open())
        opening.cancel()
        self.failureResultOf(opening)
        self.peer.pump()
        self.assertEqual(len(self.peer.sent(spec.Connection.Open)), 1)
        self.assertTrue(self.session.is_open)


class LossTests(SynchronousTestCase):
    """An open session, and the reasons of its loss."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.peer = open_peer(self.clock)
        self.session: Session = self.peer.protocol

    def reason(self) -> str:
        return str(self.successResultOf(self.session.when_lost()))

    def test_when_lost(self) -> None:
        """Each when_lost(), called before or after the loss, fires with the same reason."""
        waiting = [self.session.when_lost() for _ in range(3)]
        for each in waiting:
            self.assertNoResult(each)
        self.peer.lose(TCPConnectionLost("reset"))
        reasons = {self.successResultOf(each) for each in [*waiting, self.session.when_lost()]}
        self.assertEqual(len(reasons), 1)
        self.assertIn("reset", self.reason())
        self.assertFalse(self.session.is_open)

    def test_heartbeat_loss_of_a_stuck_transport(self) -> None:
        """A silent broker's connection is aborted after two heartbeats, and the reason says so."""
        self.peer.frozen = self.peer.transport.stuck = True
        self.clock.advance(2 * HEARTBEAT - 0.1)
        self.assertFalse(self.peer.transport.aborted)
        self.clock.advance(0.1)
        self.assertTrue(self.peer.transport.aborted)
        self.peer.pump()
        self.assertIn("no heartbeat", self.reason())
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_heartbeats_are_sent(self) -> None:
        """A quiet connection sends a heartbeat within half of the agreed time."""
        self.clock.advance(HEARTBEAT / 2)
        self.assertEqual(self.peer.transport.value(), b"\x08\x00\x00\x00\x00\x00\x00\xce")

    def test_closed_by_the_broker(self) -> None:
        """After the broker's Close, the reason has its code and text."""
        self.peer.send(spec.Connection.Close(320, "CONNECTION_FORCED - node is going down", 0, 0))
        self.assertEqual(self.reason(), "closed by the broker: 320 CONNECTION_FORCED - node is going down")

    def test_closed_over_a_slow_transport(self) -> None:
        """After the broker's Close the session ends at once, though the transport takes its time, as TLS does."""
        self.peer.transport.stuck = True
        self.peer.send(spec.Connection.Close(501, "FRAME_ERROR", 0, 0))
        self.assertFalse(self.peer.transport.ended)
        self.assertEqual((self.reason(), self.session.is_open), ("closed by the broker: 501 FRAME_ERROR", False))
        close = self.successResultOf(self.session.when_lost()).close
        self.assertEqual((close.reply_code, close.reply_text), (501, "FRAME_ERROR"))
        self.peer.receive(b"what comes later")
        self.clock.advance(CLOSE_GRACE)
        self.peer.pump()
        self.assertTrue(self.peer.transport.aborted)
        self.assertEqual((self.flushLoggedErrors(), self.clock.getDelayedCalls()), ([], []))

    def test_closed_by_a_broker_that_freezes(self) -> None:
        """If the broker sends Close and then nothing, the connection is aborted after the grace."""
        self.peer.transport.stuck = True
        self.peer.send(spec.Connection.Close(320, "going down", 0, 0))
        self.assertFalse(self.peer.transport.aborted)
        self.clock.advance(CLOSE_GRACE)
        self.peer.pump()
        self.assertTrue(self.peer.transport.aborted)
        self.assertIn("320 going down", self.reason())

    def test_blocked(self) -> None:
        """Connection.Blocked and Unblocked switch ``blocked``. With the latter, on_unblocked is called."""
        told: list[bool] = []
        self.session.on_unblocked = lambda: told.append(self.session.blocked)
        self.peer.send(spec.Connection.Blocked("low on memory"))
        self.assertTrue(self.session.blocked)
        self.assertTrue(self.session.is_open)
        self.assertEqual(told, [])
        self.peer.send(spec.Connection.Unblocked())
        self.assertFalse(self.session.blocked)
        self.assertEqual(told, [False])

    def test_undecodable_header(self) -> None:
        """A header of an unknown type is logged, and ends the connection with that reason."""
        channel = run(self.peer, self.session.channel())
        consuming = channel.basic_consume("work")
        self.peer.pump()
        self.successResultOf(consuming)
        number = self.peer.channel_of(spec.Basic.Consume)
        properties = spec.BasicProperties(headers={"when": 0})
        frames = content(number, b"", properties)[0].marshal()
        poisoned = frames.replace(b"\x04whenI\x00\x00\x00\x00", b"\x04when?" + b"\xff" * 8)
        size = int.from_bytes(poisoned[3:7], "big") + len(poisoned) - len(frames)
        table = int.from_bytes(poisoned[21:25], "big") + len(poisoned) - len(frames)
        poisoned = poisoned[:3] + size.to_bytes(4, "big") + poisoned[7:21] + table.to_bytes(4, "big") + poisoned[25:]
        tag = self.peer.sent(spec.Basic.Consume)[0].consumer_tag
        self.peer.receive(Peer.marshal(spec.Basic.Deliver(tag, 1, False, "", "work"), number) + poisoned)
        self.assertEqual(len(self.flushLoggedErrors()), 1)
        self.assertTrue(self.peer.transport.aborted)
        self.assertIn("undecodable data", self.reason())

    def test_bytes_that_are_not_amqp(self) -> None:
        """Bytes that are no AMQP frame end the connection. dataReceived raises nothing."""
        self.peer.receive(b"\x01\x00\x00\x00\x00\x00\x01?!")
        self.flushLoggedErrors()
        self.assertTrue(self.peer.transport.disconnecting)
        self.assertFalse(self.session.is_open)

    def test_channel_after_the_loss(self) -> None:
        """channel() fails if the connection is lost meanwhile, or before."""
        run(self.peer, self.session.channel())  # the first one is open already
        self.peer.frozen = True
        waiting = Deferred.fromCoroutine(self.session.channel())
        self.peer.lose()
        for each in (waiting, Deferred.fromCoroutine(self.session.channel())):
            self.failureResultOf(each)

    def test_first_channel_after_the_loss(self) -> None:
        """The channel that is open from the start is not given out after the loss."""
        self.peer.lose()
        self.failureResultOf(Deferred.fromCoroutine(self.session.channel()))


class LimitsTests(SynchronousTestCase):
    """What the broker allows on a connection (Connection.Tune)."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.peer = new_peer(self.clock)
        self.session: Session = self.peer.protocol

    def tune(self, channel_max: int = 2047, frame_max: int = 131_072) -> Deferred[None]:
        """Open the session with these limits."""
        self.peer.answers[spec.Connection.StartOk] = lambda _: spec.Connection.Tune(channel_max, frame_max, HEARTBEAT)
        opening = Deferred.fromCoroutine(self.session.open())
        self.peer.pump()
        return opening

    def test_channels(self) -> None:
        """As many channels can be opened as the broker allows. The error about one more says what to do."""
        self.successResultOf(self.tune(channel_max=2))
        first, second = (run(self.peer, self.session.channel()) for _ in range(2))
        self.assertEqual((first.channel_number, second.channel_number), (1, 2))
        error = self.assertRaises(TooFewChannels, run, self.peer, self.session.channel())
        text = "the broker allows 2 channels on a connection, and more are needed: raise its channel_max"
        self.assertEqual(str(error), text)
        first.close()
        self.peer.pump()
        run(self.peer, self.session.channel())

    def test_required_channels(self) -> None:
        """Whether the broker allows enough channels can be found out before any is opened."""
        self.successResultOf(self.tune(channel_max=3))
        self.session.channels.require(3)
        error = self.assertRaises(TooFewChannels, self.session.channels.require, 4)
        self.assertEqual(
            str(error), "the broker allows 3 channels on a connection, and 4 are needed: raise its channel_max"
        )
        self.assertEqual(len(self.peer.sent(spec.Channel.Open)), 1)

    def test_no_limit(self) -> None:
        """0 means no limit."""
        self.successResultOf(self.tune(channel_max=0, frame_max=0))
        self.session.channels.require(2000)
        self.assertEqual(self.peer.sent(spec.Connection.TuneOk)[0].frame_max, 131_072)

    def test_frames_below_the_least(self) -> None:
        """A frame_max below AMQP's least ends the attempt with a reason, and without a traceback."""
        for frame_max in (1, 8, 4000, 4095):
            self.setUp()
            error = self.failureResultOf(self.tune(frame_max=frame_max), ConnectionLost).value
            self.assertIn(f"the broker's frame_max is {frame_max}; AMQP's least is 4096", str(error))
        self.assertEqual(self.flushLoggedErrors(), [])
        self.setUp()
        self.successResultOf(self.tune(frame_max=4096))


class CloseTests(SynchronousTestCase):
    """close() and abort()."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.peer = open_peer(self.clock)
        self.session: Session = self.peer.protocol

    def test_in_order(self) -> None:
        """close() sends Close, takes Close-Ok, and leaves no timer."""
        closed = self.session.close()
        self.assertFalse(self.session.is_open)
        self.assertNoResult(closed)
        self.peer.pump()
        self.assertEqual(str(self.successResultOf(closed)), "closed by us")
        self.assertEqual(len(self.peer.sent(spec.Connection.Close)), 1)
        self.assertFalse(self.peer.transport.aborted)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_without_close_ok(self) -> None:
        """If the broker does not answer Close, the connection is aborted after the grace, not before."""
        self.peer.answers[spec.Connection.Close] = None
        closed = self.session.close()
        self.peer.pump()
        self.clock.advance(CLOSE_GRACE - 0.1)
        self.assertFalse(self.peer.transport.aborted)
        self.assertNoResult(closed)
        self.clock.advance(0.1)
        self.peer.pump()
        self.assertTrue(self.peer.transport.aborted)
        self.assertEqual(str(self.successResultOf(closed)), "closed by us")

    def test_twice(self) -> None:
        """A second close() waits for the same loss and sends nothing."""
        both = [self.session.close(), self.session.close()]
        self.peer.pump()
        for each in [*both, self.session.close()]:
            self.successResultOf(each)
        self.assertEqual(len(self.peer.sent(spec.Connection.Close)), 1)

    def test_before_the_handshake_is_over(self) -> None:
        """During the handshake, close() aborts the connection at once."""
        peer = new_peer(self.clock)
        closed = peer.protocol.close()
        self.assertTrue(peer.transport.aborted)
        peer.pump()
        self.successResultOf(closed)

    def test_abort(self) -> None:
        """abort() drops the transport and sends nothing. It may be called again after the loss."""
        self.peer.transport.clear()
        self.session.abort()
        self.assertEqual(self.peer.transport.value(), b"")
        self.assertTrue(self.peer.transport.aborted)
        self.peer.pump()
        self.session.abort()
        self.successResultOf(self.session.when_lost())
