"""Which exchange a routing key is published to, and which routing keys a caller may use."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from provider_gateway.config.queue_file import parse_queues
from provider_gateway.errors import BadRequest
from provider_gateway.topology.routing import Routes, checked_routing_key, matches, matching_key, topic_matches
from tests.support.queue_entries import entry

#: Binding key, routing keys that match, routing keys that do not.
TOPICS = (
    ("predict.now", ["predict.now"], ["predict", "predict.now.x", "predict.nowx", "xpredict.now", "", "predict.NOW"]),
    ("predict.*", ["predict.now", "predict."], ["predict", "predict.a.b", "x.predict.a", "predictxa"]),
    ("*.now", ["predict.now", ".now"], ["now", "a.b.now"]),
    ("a.*.c", ["a.b.c", "a..c"], ["a.c", "a.b.b.c"]),
    ("*", ["a"], ["", "a.b", "."]),
    ("#", ["", "a", "a.b.c", ".", "..."], []),
    ("#.c", ["c", "b.c", "a.b.c", ".c"], ["", "c.d", "xc"]),
    ("a.#", ["a", "a.b", "a.b.c", "a."], ["", "ab", "b.a", "ab.c"]),
    ("a.#.c", ["a.c", "a.b.c", "a.b.b.c", "a..c"], ["a", "c", "ac", "a.cd", "a.c.d"]),
    ("#.b.#", ["b", "a.b", "b.c", "a.b.c", "b.b"], ["", "a", "ab", "bb"]),
    ("#.#", ["", "a", "a.b"], []),
    ("*.#", ["a", "a.b", "."], [""]),
    ("#.*", ["a", "a.b", "."], [""]),
    ("a.*.#", ["a.b", "a.b.c", "a."], ["a", "b.b"]),
    ("", [""], ["a", "."]),
    ("a.", ["a."], ["a", "a.b", "a.."]),
    (".a", [".a"], ["a", "b.a"]),
    ("a..b", ["a..b"], ["a.b", "a.x.b", "a...b"]),
    # Wildcards are whole words; no other character is special.
    ("a*", ["a*"], ["a", "ab", "aa"]),
    ("a#", ["a#"], ["a", "ab"]),
    ("a.b+", ["a.b+"], ["a.b", "a.bb"]),
    ("[ab].(c|d)", ["[ab].(c|d)"], ["a.c", "b.d"]),
    (r"^a\d$", [r"^a\d$"], ["a1"]),
    ("a?.b", ["a?.b"], [".b", "a.b"]),
    ("*.b", ["a\nx.b"], ["a.b\n"]),
    ("größe.*", ["größe.ä"], ["grosse.a"]),
)


class TopicTests(SynchronousTestCase):
    """The rules of topic exchanges."""

    def test_table(self) -> None:
        """``*`` is exactly one word, which may be empty; ``#`` is zero or more; the empty key has no words."""
        for binding_key, taken, not_taken in TOPICS:
            for key in taken:
                self.assertTrue(topic_matches(binding_key, key), f"{binding_key!r} takes {key!r}")
            for key in not_taken:
                self.assertFalse(topic_matches(binding_key, key), f"{binding_key!r} does not take {key!r}")


class RoutesTests(SynchronousTestCase):
    """From routing key to exchange."""

    def routes(self, text: str) -> Routes:
        return Routes(parse_queues(text, "f"))

    def test_first_match_wins(self) -> None:
        """The exchange is that of the first entry with a matching binding."""
        routes = self.routes(
            "- {topic: A, queueName: a, bindingKey: [a.*, z.*]}\n"
            "- {topic: B, queueName: b, bindingKey: b.*}\n"
            "- {topic: C, queueName: c, bindingKey: '#'}"
        )
        for key, exchange in (("a.1", "A"), ("z.1", "A"), ("b.1", "B"), ("c.1", "C"), ("a.1.2", "C")):
            self.assertEqual(exchange, routes.exchange(key), key)

    def test_first_entry_without_a_match(self) -> None:
        """A key without a matching binding goes to the first entry's exchange, where the broker returns the message."""
        routes = self.routes("- {topic: A, queueName: a, bindingKey: a.*}\n- {topic: B, queueName: b, bindingKey: b.*}")
        self.assertEqual("A", routes.exchange("nothing.here.matches"))

    def test_direct(self) -> None:
        """A direct exchange compares the whole key; wildcards have no meaning there."""
        routes = self.routes(
            "- {topic: A, queueName: a, bindingKey: x}\n"
            "- {topic: D, exchangeType: direct, queueName: d, bindingKey: [k, 'p.*']}"
        )
        for key, exchange in (("k", "D"), ("p.*", "D"), ("p.a", "A"), ("kk", "A")):
            self.assertEqual(exchange, routes.exchange(key), key)

    def test_fanout(self) -> None:
        """A fanout exchange takes every key."""
        routes = self.routes(
            "- {topic: A, queueName: a, bindingKey: x}\n- {topic: F, exchangeType: fanout, queueName: f}"
        )
        self.assertEqual(["A", "F", "F"], [routes.exchange(key) for key in ("x", "y", "y.z")])

    def test_default_exchange(self) -> None:
        """The default exchange routes by the name of the queue, whatever the binding keys are."""
        routes = self.routes(
            "- {topic: A, queueName: a, bindingKey: x}\n- {topic: '', queueName: q.in, bindingKey: other}"
        )
        for key, exchange in (("q.in", ""), ("other", "A"), ("q", "A"), ("qxin", "A")):
            self.assertEqual(exchange, routes.exchange(key), key)

    def test_default_routing_key(self) -> None:
        """The default routing key is the first ``routingKey`` of the file; without any there is none."""
        entry = "- {topic: A, queueName: %s, bindingKey: x%s}\n"
        three = entry % ("a", "") + entry % ("b", ", routingKey: k1") + entry % ("c", ", routingKey: k2")
        self.assertEqual("k1", self.routes(three).default_routing_key)
        self.assertIsNone(self.routes(entry % ("a", "")).default_routing_key)


class CheckedRoutingKeyTests(SynchronousTestCase):
    """Routing keys of callers."""

    def test_accepted(self) -> None:
        """Any text of up to 255 bytes is accepted unchanged, characters of several bytes included."""
        for key in ("predict.now", "a", "..", " ", "a b", "größe", "x" * 255, "é" * 127 + "x"):
            self.assertEqual(key, checked_routing_key(key), key)

    def test_refused(self) -> None:
        """Empty keys, keys over 255 bytes, wildcards and control characters are answered with 400 and the reason."""
        for key, reason in (
            ("", "empty"),
            ("x" * 256, "255 bytes"),
            ("é" * 128, "255 bytes"),
            ("predict.*", "wildcard"),
            ("#", "wildcard"),
            ("a#b", "wildcard"),
            ("a\nb", "control character"),
            ("a\rb", "control character"),
            ("a\x00", "control character"),
            ("\t", "control character"),
            ("a\x7f", "control character"),
        ):
            error = self.assertRaises(BadRequest, checked_routing_key, key)
            self.assertEqual(400, error.status)
            self.assertIn(reason, error.detail, f"for {key!r}")


class MatchingKeyTests(SynchronousTestCase):
    """A routing key made from a binding leads to the queue."""

    def test_topics(self) -> None:
        """Every binding matches the key made from it, also the binding of one empty word, written as a dot."""
        for binding in ("a", "a.*", "*", "#", "*.#", "a.#.b", ".#", "#.", ".", "#.#", "a..b"):
            (found,) = parse_queues(f"- {{topic: X, queueName: q, bindingKey: '{binding}'}}", "file")
            self.assertTrue(topic_matches(binding, matching_key(found)), binding)

    def test_matches(self) -> None:
        """The exchange of an entry routes the key made for it to its queue."""
        for keys in (
            *({"bindingKey": key} for key in ("predict.*", "#", "*", "a.#", "#.b", "a.#.b", "*.*.c", "plain", "a.*.#")),
            {"bindingKey": ["x.*", "y"]},
            {"exchangeType": "direct", "bindingKey": ["k.*", "l"]},
            {"exchangeType": "fanout", "bindingKey": []},
            {"topic": "", "bindingKey": []},
        ):
            made = entry(**keys)
            self.assertTrue(matches(made, matching_key(made)), repr(keys))

    def test_keys(self) -> None:
        """A word replaces each wildcard; for the default exchange the key is the queue's name."""
        for keys, expected in (
            ({"bindingKey": "predict.*"}, "predict.now"),
            ({"bindingKey": "a.#.b"}, "a.b"),
            ({"bindingKey": "#"}, ""),
            ({"exchangeType": "direct", "bindingKey": ["k.*", "l"]}, "k.*"),
            ({"exchangeType": "fanout", "bindingKey": ["k"]}, ""),
            ({"topic": "", "bindingKey": ["k"]}, "work"),
        ):
            self.assertEqual(matching_key(entry(**keys)), expected, repr(keys))
