"""Which queues get the same messages, and whether requests to paths come to their queue."""

from __future__ import annotations

from itertools import combinations_with_replacement, permutations, product

from twisted.trial.unittest import SynchronousTestCase

from provider_gateway.errors import SettingsError
from provider_gateway.topology.overlaps import check_path_keys, common_key, overlaps
from provider_gateway.topology.routing import topic_matches
from tests.support.queue_entries import entry

WORDS = ("a", "b", "*", "#")


class CommonKeyTests(SynchronousTestCase):
    """Routing keys that two binding keys of a topic exchange match."""

    def test_table(self) -> None:
        """Pairs of binding keys, with a key that both match, or none."""
        for one, other, expected in (
            ("predict.*", "predict.fraud", "predict.fraud"),
            ("predict.#", "predict", "predict"),
            ("*.fraud", "predict.*", "predict.fraud"),
            ("#", "", ""),
            ("#", "#", ""),
            ("*", "*", "any"),
            ("a.#.z", "a.b.#", "a.b.z"),
            ("predict.*", "predict", None),
            ("predict.*", "batch.#", None),
            ("predict.fraud", "predict.fib", None),
            ("*.b", "*.c", None),
            ("a.#", "#.b.c.#.d.#.e.f", "a.b.c.d.e.f"),
            ("", "*", None),
        ):
            self.assertEqual(common_key(one, other), expected, (one, other))

    def test_every_short_pattern(self) -> None:
        """Both binding keys match the key that is found; where none is found, no key of up to five words does."""
        patterns = [".".join(words) for length in (1, 2, 3) for words in product(WORDS, repeat=length)]
        keys = [".".join(words) for length in range(6) for words in product(("a", "b", "c"), repeat=length)]
        matched = {pattern: {key for key in keys if topic_matches(pattern, key)} for pattern in patterns}
        for one, other in combinations_with_replacement(patterns, 2):
            for first, second in set(permutations((one, other))):
                key = common_key(first, second)
                if key is None:
                    self.assertEqual(matched[first] & matched[second], set(), (first, second))
                else:
                    self.assertTrue(topic_matches(first, key) and topic_matches(second, key), (first, second, key))

    def test_many_wildcards(self) -> None:
        """The longest binding keys of wildcards take no noticeable time."""
        self.assertEqual(common_key(".".join(["#"] * 128), ".".join(["#", "*"] * 60)), ".".join(["any"] * 60))
        self.assertIsNone(common_key(".".join(["#", "a"] * 60), ".".join(["#", "*"] * 60 + ["b"])))


class OverlapTests(SynchronousTestCase):
    """Warnings about queues that get the same messages."""

    def lines(self, *given: dict[str, object]) -> list[str]:
        return list(overlaps([entry(f"q{number}", **keys) for number, keys in enumerate(given)]))

    def test_patterns(self) -> None:
        """Patterns that overlap are named with a routing key that both take."""
        (line,) = self.lines({"bindingKey": ["x", "predict.#"]}, {"bindingKey": ["y", "*.fraud"]})
        for part in ("'q0'", "'q1'", "'predict.fraud'", "'predict.#'", "'*.fraud'", "twice"):
            self.assertIn(part, line)

    def test_exchange_types(self) -> None:
        """Direct exchanges know no wildcards; fanout exchanges give every message to every queue."""
        direct, fanout = {"topic": "d", "exchangeType": "direct"}, {"topic": "f", "exchangeType": "fanout"}
        self.assertEqual(self.lines({**direct, "bindingKey": "a.*"}, {**direct, "bindingKey": "a.b"}), [])
        (line,) = self.lines({**direct, "bindingKey": ["a", "b"]}, {**direct, "bindingKey": ["c", "b"]})
        self.assertIn("bindingKey 'b'", line)
        (line,) = self.lines({**fanout, "bindingKey": "a"}, {**fanout, "bindingKey": "b"})
        self.assertIn("all messages", line)

    def test_nothing_shared(self) -> None:
        """Other exchanges, the default exchange, and several keys of one queue cause no warning."""
        self.assertEqual(self.lines({}, {"topic": "X"}), [])
        self.assertEqual(self.lines({"topic": ""}, {"topic": ""}), [])
        self.assertEqual(self.lines({"bindingKey": ["a.*", "a.#"]}), [])

    def test_each_pair(self) -> None:
        """There is one line for each pair of queues, however many of their keys overlap."""
        self.assertEqual(len(self.lines(*[{"bindingKey": ["a", "b", "#"]}] * 3)), 3)


class PathKeyTests(SynchronousTestCase):
    """The routing key of an entry with paths."""

    def test_key_of_the_queue(self) -> None:
        """A key that the entry's bindings take is accepted; without paths, any key is."""
        check_path_keys([entry(paths="/a", routingKey="predict.x"), entry("other", bindingKey="b", paths="/b")])
        check_path_keys([entry(routingKey="elsewhere"), entry("d", topic="", paths="/c")])

    def test_key_of_another_queue(self) -> None:
        """A key that leads elsewhere is an error that names one that does not."""
        error = self.assertRaises(SettingsError, check_path_keys, [entry(paths="/a", routingKey="batch.x")])
        for part in ("paths of 'work'", "'batch.x'", "'predict.now'"):
            self.assertIn(part, str(error))

    def test_key_of_another_exchange(self) -> None:
        """A key that an earlier entry takes on another exchange is an error: requests would be published there."""
        entries = [entry("first", topic="A", bindingKey="#"), entry(paths="/a", routingKey="predict.x")]
        error = self.assertRaises(SettingsError, check_path_keys, entries)
        for part in ("paths of 'work'", "'predict.x'", "'A'", "earlier"):
            self.assertIn(part, str(error))
        check_path_keys(entries[::-1])
