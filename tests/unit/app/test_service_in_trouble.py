"""Lives of messages while the broker or the process does not live on: nothing is lost, and nothing is done twice."""

from __future__ import annotations

from tests.support.observability import counted
from tests.support.service import ServiceTestCase


class BrokerTroubleTests(ServiceTestCase):
    """A broker that goes away, blocks, or lost a queue."""

    def test_connections_lost(self) -> None:
        """A message whose connection breaks during the call is known when it comes again: one call, one answer."""
        client = self.post()
        self.is_up = False
        self.break_connections()
        self.assertEqual((self.waiting("work"), self.answered(self.post()).status), (1, 503))
        self.answer()
        self.advance(2)
        self.assertEqual(client.responses(), [])
        self.is_up = True
        self.advance(20)
        self.assertEqual((self.answered(client).status, len(self.calls)), (200, 1))
        self.assertEqual(self.service.waiting_for(), [])
        self.assert_settled()

    def test_frame_cut(self) -> None:
        """A reply whose confirm is cut off in mid-frame is sent again; the model is not called again."""
        self.ask()
        self.broker.faults.cut_frames()
        self.answer()
        self.assertEqual((len(self.take("back")), self.unacked("work")), (1, 1))
        self.advance(20)
        self.assertEqual((len(self.take("back")), len(self.calls)), (1, 1))
        self.assert_settled()

    def test_blocked(self) -> None:
        """While the broker blocks publishers requests are refused, answers wait, and the process is not ready."""
        self.ask()
        self.broker.faults.block()
        self.pump()
        self.assertEqual(self.answered(self.post()).status, 503)
        self.answer()
        self.assertEqual((self.service.waiting_for() != [], self.unacked("work")), (True, 1))
        self.broker.faults.unblock()
        self.pump()
        self.assertEqual((len(self.take("back")), self.service.waiting_for()), (1, []))
        self.assert_settled()

    def test_queue_deleted(self) -> None:
        """A work queue that is deleted under its consumer is declared, bound and consumed again."""
        self.delete("work")
        client = self.post()
        self.answer()
        self.assertEqual((self.answered(client).status, self.service.waiting_for()), (200, []))


class EndTests(ServiceTestCase):
    """The end of the process, in order or not."""

    def test_killed(self) -> None:
        """What a process that dies was at work on is counted, done by the next process, and answered."""
        self.ask()
        self.break_connections()
        self.is_up = False
        self.service.stopService()
        self.advance(60)
        self.is_up = True
        self.begin()
        self.assertEqual((self.bodies(), self.unacked("work")), (2 * [b"[1]"], 1))
        self.assertEqual(counted(self.metrics.redelivered, "work", "unknown"), 1)
        self.answer()
        self.assertEqual(len(self.take("back")), 1)
        self.assert_settled()

    def test_drained(self) -> None:
        """At the end, what is in work is finished, answered and acknowledged; what was not begun stays in its queue."""
        for body in (b"1", b"2", b"3"):
            self.ask(body)
        stopped = self.service.stopService()
        self.pump()
        self.answer(number=0)
        self.assertNoResult(stopped)
        self.answer(number=1)
        self.successResultOf(stopped)
        self.assertEqual((self.bodies(), len(self.take("back"))), ([b"1", b"2"], 2))
        self.assertEqual([each.body for each in self.take("work")], [b"3"])
        self.assertTrue(all(link.at_server.ended for link in self.links[self.first_link :]))

    def test_caller_during_the_drain(self) -> None:
        """A caller who waits when the end begins gets the answer; one who comes then is told to go elsewhere."""
        client = self.post()
        stopped = self.service.stopService()
        late = self.post()
        self.assertEqual(self.answered(late).status, 503)
        self.answer()
        self.assertEqual(self.answered(client).status, 200)
        for each in (late, client):
            self.assertNoResult(stopped)
            each.leave()
            self.pump()
        self.successResultOf(stopped)
        self.assert_settled()

    def test_drained_too_slowly(self) -> None:
        """What is not finished in time is left to the broker unacknowledged, and the next process does it."""
        self.ask()
        stopped = self.service.stopService()
        self.advance(24.1)
        self.successResultOf(stopped)
        self.assertTrue(self.calls[0].disconnecting)
        self.assertEqual((self.waiting("work"), self.waiting("back")), (1, 0))
        self.begin()
        self.answer()
        self.assertEqual(len(self.take("back")), 1)
        self.assert_settled()
