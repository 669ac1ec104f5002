"""The check against a broker for which the test answers: what is asked, what is expected, and what is left behind."""

from __future__ import annotations

from typing import Any

from pika import spec
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from provider_gateway.amqp.topology_check import Finding, TopologyCheck
from provider_gateway.config.settings import Settings
from tests.support.amqp_peer import open_peer, run
from tests.support.queue_entries import entry

REFUSED = "ACCESS_REFUSED - access to {} '{}' in vhost '/' refused for user 'u'"


class CheckTests(SynchronousTestCase):
    """A broker that has nothing, and refuses wrong arguments as RabbitMQ does, unless a test says otherwise."""

    def setUp(self) -> None:
        self.peer = open_peer(Clock())
        self.found: list[Finding] = []
        self.answers: list[tuple[str, Any]] = []
        self.peer.answers |= {
            spec.Exchange.Declare: lambda method: self.answer("exchange", method.exchange, method),
            spec.Queue.Declare: lambda method: self.answer("queue", method.queue, method),
            spec.Queue.Unbind: lambda _: spec.Queue.UnbindOk(),
            spec.Queue.Delete: lambda _: spec.Queue.DeleteOk(0),
            spec.Basic.Consume: lambda _: spec.Channel.Close(406, "invalid arg 'x-priority' for queue", 60, 20),
            spec.Basic.Publish: lambda _: spec.Channel.Close(406, "invalid expiration 'none': no_integer", 60, 40),
            spec.Tx.Select: lambda _: spec.Tx.SelectOk(),
        }

    def answer(self, kind: str, name: str, method: Any) -> Any:
        """The answer to a declaration."""
        for part, answer in self.answers:
            if part in name and not method.passive:
                return answer
        if method.passive:
            return spec.Channel.Close(404, f"NOT_FOUND - no {kind} '{name}' in vhost '/'", 50, 10)
        if kind == "exchange":
            return spec.Channel.Close(406, "invalid type 'signedint' for arg 'alternate-exchange' in exchange", 40, 10)
        if method.arguments.get("x-expires") == 0:
            return spec.Channel.Close(406, f"invalid arg 'x-expires' for queue '{name}': {{value_zero,0}}", 50, 10)
        return spec.Queue.DeclareOk(name, 0, 0)

    def check(self, **keys: Any) -> list[str]:
        """Check an entry; returns what is wrong."""
        settings = Settings(_env_file=None, rmq_url="amqp://127.0.0.1/", instance="one")
        checked = TopologyCheck(self.peer.protocol, self.found.append).run(
            [entry(**keys)], ["gateway", "provider"], settings
        )
        run(self.peer, checked)
        return [text for text, is_wrong in self.found if is_wrong]

    def test_nothing_stays(self) -> None:
        """Queues are declared under trial names only, with their true arguments and an expiry, and deleted at once."""
        self.assertEqual(self.check(argQueue={"x-max-length": 5}, durable=False, replyTo="r"), [])
        made = [each for each in self.peer.sent(spec.Queue.Declare) if (each.arguments or {}).get("x-expires")]
        self.assertEqual([each.queue for each in self.peer.sent(spec.Queue.Delete)], [each.queue for each in made])
        by_name = {each.queue.partition(".check-")[0]: each for each in made}
        self.assertEqual(set(by_name), {"work", "work.parking", "r", "r.one-" + self.peer_suffix(by_name)})
        work = by_name["work"]
        self.assertEqual(work.arguments, {"x-queue-type": "classic", "x-max-length": 5, "x-expires": 60_000})
        self.assertFalse(work.durable)
        self.assertTrue(by_name["work.parking"].durable)
        for method in self.peer.sent(spec.Exchange.Declare):
            self.assertTrue(method.passive or "alternate-exchange" in method.arguments)
        self.assertEqual(self.peer.sent(spec.Queue.Bind), [])
        others = [each for each in self.peer.sent(spec.Queue.Declare) if not each.passive and each not in made]
        for method in others:
            self.assertTrue(method.exclusive or method.arguments["x-expires"] == 0)

    @staticmethod
    def peer_suffix(names: dict[str, Any]) -> str:
        """The random part of the instance's name."""
        return next(name for name in names if name.startswith("r.one-")).removeprefix("r.one-")

    def test_messages(self) -> None:
        """Messages carry what the broker refuses. Where it looks at that too early, one follows in a transaction."""
        self.assertEqual(self.check(), [])
        for message in self.peer.published:
            self.assertEqual(message.properties.user_id, "provider-gateway-check")
            self.assertEqual(message.body, b"")
        expirations = [each.properties.expiration for each in self.peer.published]
        self.assertEqual(expirations, ["none", None, "none", None, "none", None])
        self.assertEqual(len(self.peer.sent(spec.Tx.Select)), 3)
        self.assertEqual(self.peer.sent(spec.Tx.Commit), [])

    def test_trial_not_allowed(self) -> None:
        """If the user may declare the queue but none of the trial's name, the check says so and finds nothing wrong."""
        self.answers = [(".check-", spec.Channel.Close(403, REFUSED.format("queue", "work.check-1"), 50, 10))]
        self.assertEqual(self.check(), [])
        self.assertTrue([text for text, _ in self.found if "queue 'work': its arguments were not tried" in text])

    def test_trial_refused(self) -> None:
        """Arguments that the broker does not take are found; the line has the queue's own name."""
        self.answers = [("work.check-", spec.Channel.Close(406, "invalid arg 'x-max-length' for queue 'X'", 50, 10))]
        [wrong] = self.check(argQueue={"x-max-length": 5})
        self.assertIn("FAILED: queue 'work': ", wrong)
        self.assertIn("correct argQueue.x-max-length", wrong)

    def test_room_for_all(self) -> None:
        """A limit that each missing queue fits alone, but not all of them, is found, at the first that does not fit."""
        count, accept = 0, self.peer.answers[spec.Queue.Declare]
        full = "PRECONDITION_FAILED - cannot declare queue '{}': queue limit in vhost '/' (2) is reached"

        def answer(method: Any) -> Any:
            nonlocal count
            count += method.exclusive
            return spec.Channel.Close(406, full.format(method.queue), 50, 10) if count > 2 else accept(method)

        self.peer.answers[spec.Queue.Declare] = answer
        [wrong] = self.check(replyTo="r")
        self.assertIn("FAILED: not every queue can be declared: queue 'r': ", wrong)
        self.assertIn("raise the limit", wrong)
        self.assertNotIn(".check-", wrong)

    def test_connection_closed(self) -> None:
        """If the broker closes the connection, the object is named, and nothing else is asked."""
        self.answers = [
            ("work.check-", spec.Connection.Close(541, "INTERNAL_ERROR - `transient_nonexcl_queues`", 50, 10))
        ]
        wrong = self.check(durable=False)
        self.assertEqual(len(wrong), 2, wrong)
        self.assertIn("FAILED: queue 'work': the broker closed the connection over it: ", wrong[0])
        self.assertIn("remove 'durable: false'", wrong[0])
        self.assertIn("nothing else was looked at", wrong[1])

    def test_node_down(self) -> None:
        """A queue whose node is down is there, though the broker answers 404."""
        down = spec.Channel.Close(404, "NOT_FOUND - home node 'rabbit@b' of durable queue 'work' is down", 50, 10)
        self.peer.answers[spec.Queue.Declare] = lambda method: (
            down if method.queue == "work" else self.answer("queue", method.queue, method)
        )
        [wrong] = self.check()
        self.assertIn("FAILED: queue 'work': ", wrong)
        self.assertIn("a node of the broker is down", wrong)
