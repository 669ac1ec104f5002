"""Messages while the broker or the process fails: none is lost, and none is processed twice without need."""

from __future__ import annotations

from tests.support.observability import counted
from tests.support.service import ServiceTestCase


class BrokerTroubleTests(ServiceTestCase):
    """A broker that is away, blocks publishers, or lost a queue."""

    def test_connections_lost(self) -> None:
        """A message that is redelivered while its model call runs is recognised: one call, one response."""
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
        """A reply whose confirm is cut off in mid-frame is published again; the model is not called again."""
        self.ask()
        self.broker.faults.cut_frames()
        self.answer()
        self.assertEqual((len(self.take("back")), self.unacked("work")), (1, 1))
        self.advance(20)
        self.assertEqual((len(self.take("back")), len(self.calls)), (1, 1))
        self.assert_settled()

    def test_blocked(self) -> None:
        """While the broker blocks publishers, requests get 503, replies wait, and the process is not ready."""
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
        """A work queue that is deleted while it is consumed is declared, bound and consumed again."""
        self.delete("work")
        client = self.post()
        self.answer()
        self.assertEqual((self.answered(client).status, self.service.waiting_for()), (200, []))


class RefusedTests(ServiceTestCase):
    """A broker that refuses a declaration."""

    def test_connection_closed(self) -> None:
        """A connection that the broker closes over a declaration, for good, ends the start with one line."""
        self.patch(type(self), "keys", {"argQueue": {"x-max-priority": 3}, "queueName": "other"})
        self.begin_to_start()
        [line] = self.fatal
        self.assertIn("queue 'other': the broker closed the connection over it: NOT_IMPLEMENTED", line)
        self.assertIn("does not implement", line)


class EndTests(ServiceTestCase):
    """The process is stopped, or dies."""

    def test_killed(self) -> None:
        """A delivery of a process that dies goes to the next process, which counts it as redelivered and answers it."""
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
        """A drain finishes running model calls, replies and acknowledges; messages that were not begun stay queued."""
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
        """A caller that waits when the drain begins gets its response; a request during the drain gets 503."""
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
        """Deliveries that are not finished in time stay unacknowledged, and the next process gets them."""
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
