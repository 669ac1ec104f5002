"""Patterns of routing keys and identities match what simple definitions of them match."""

from __future__ import annotations

from hypothesis import strategies as st
from pydantic import ValidationError
from twisted.trial.unittest import SynchronousTestCase

from provider_gateway.config.short_strings import text_problem
from provider_gateway.errors import BadRequest
from provider_gateway.security.access_rules import AccessRule
from provider_gateway.security.identity import Identity, identity_matches
from provider_gateway.topology.reply_addresses import ReplyAddresses
from provider_gateway.topology.routing import checked_routing_key, matches, matching_key, topic_matches
from tests.fuzz.profiles import fuzzed
from tests.support.queue_entries import entry

_words = st.one_of(st.sampled_from(("a", "b", "*", "#", "", "ab", "a\n", "$", "(", "\\")), st.text(max_size=2))
_topics = st.one_of(
    st.lists(_words, max_size=6).map(".".join), st.text(st.sampled_from("ab.*#"), max_size=8), st.text(max_size=6)
)
#: Topics that the queue file accepts.
_written_topics = _topics.filter(lambda topic: topic and text_problem(topic) is None)
_names = st.one_of(
    st.lists(st.sampled_from(("a", "example", "org", "*", "", "evilexample")), max_size=4).map(".".join),
    st.text(max_size=6),
)


def _words_match(pattern: list[str], words: list[str]) -> bool:
    """The definition of a topic pattern: ``*`` matches one word, ``#`` any number, others themselves."""
    if not pattern:
        return not words
    if pattern[0] == "#":
        return any(_words_match(pattern[1:], words[count:]) for count in range(len(words) + 1))
    return bool(words) and pattern[0] in ("*", words[0]) and _words_match(pattern[1:], words[1:])


def _topic_matches(pattern: str, key: str) -> bool:
    return _words_match(pattern.split(".") if pattern else [], key.split(".") if key else [])


class TopicTests(SynchronousTestCase):
    """Topic patterns and routing keys."""

    @fuzzed(600, pattern=_topics, key=_topics)
    def test_topic(self, pattern: str, key: str) -> None:
        """A binding matches exactly the keys of the definition."""
        self.assertEqual(topic_matches(pattern, key), _topic_matches(pattern, key))

    @fuzzed(200, pattern=_written_topics, kind=st.sampled_from(("topic", "direct", "fanout")))
    def test_matching_key(self, pattern: str, kind: str) -> None:
        """The key made for a binding matches that binding."""
        made = entry(bindingKey=pattern, exchangeType=kind)
        self.assertTrue(matches(made, matching_key(made)))

    @fuzzed(
        400,
        key=st.one_of(
            _topics,
            st.text(max_size=300),
            st.integers(250, 260).map("k".__mul__),
            st.integers(126, 129).map("\xe4".__mul__),
        ),
    )
    def test_routing_key(self, key: str) -> None:
        """A client's routing key is 1 to 255 bytes without wildcards and control characters; others are rejected."""
        is_valid = 1 <= len(key.encode()) <= 255 and not any(c in "*#\x7f" or c < " " for c in key)
        try:
            self.assertEqual(checked_routing_key(key), key)
        except BadRequest as refusal:
            self.assertFalse(is_valid, refusal)
        else:
            self.assertTrue(is_valid)


class IdentityTests(SynchronousTestCase):
    """The identities of an access rule."""

    @fuzzed(500, pattern=_names, name=_names)
    def test_identity(self, pattern: str, name: str) -> None:
        """``*`` matches every name, ``*.x`` a name with a label and a dot before x, others only themselves."""
        if pattern == "*":
            expected = True
        elif pattern.startswith("*."):
            label, found, rest = name.partition(pattern[1:]) if name.endswith(pattern[1:]) else ("", "", "")
            expected = bool(label and found) or (bool(rest) and name.endswith(pattern[1:]) and name != pattern[1:])
        else:
            expected = pattern == name
        self.assertEqual(identity_matches(pattern, name), expected)

    @fuzzed(300, end=_names.filter(bool), name=_names.filter(bool))
    def test_dot(self, end: str, name: str) -> None:
        """``*.example.org`` matches neither ``example.org`` nor ``evilexample.org``."""
        self.assertFalse(identity_matches(f"*.{end}", end))
        if not name.endswith("."):
            self.assertEqual(identity_matches(f"*.{end}", name + end), (name + end).endswith(f".{end}"))

    @fuzzed(
        300,
        identities=st.lists(_names, max_size=3),
        keys=st.lists(_topics, max_size=3),
        names=st.lists(_names, max_size=3),
        key=_topics,
    )
    def test_rule(self, identities: list[str], keys: list[str], names: list[str], key: str) -> None:
        """A rule allows what one of its identities and one of its keys match, or is refused; no other error."""
        try:
            rule = AccessRule.model_validate({"identities": identities, "routingKeys": keys})
        except ValidationError:
            stars = any(each != "*" and "*" in each.removeprefix("*.") for each in identities)
            self.assertTrue(stars or not all(identities) or not all(keys) or not identities or not keys)
            return
        allowed = rule.allows(Identity(tuple(names), 0), key)
        is_meant = any(identity_matches(pattern, name) for pattern in identities for name in names)
        self.assertEqual(allowed, is_meant and any(_topic_matches(pattern, key) for pattern in keys))

    @fuzzed(
        300,
        allowed=st.lists(_written_topics, max_size=2),
        address=st.one_of(
            st.none(),
            _topics,
            st.binary(max_size=4),
            st.sampled_from(("work", "work.retry", "work.parking", "response", "response.1")),
        ),
    )
    def test_reply_address(self, allowed: list[str], address: str | bytes | None) -> None:
        """No reply goes to a queue of the queue file, or to an address that ``replyToAllowed`` does not match."""
        work = entry(replyTo="response", replyToAllowed=allowed)
        is_allowed = ReplyAddresses(work, [work]).allow(address)
        if isinstance(address, str) and address.split(".")[0] != "response":
            is_meant = not allowed or any(_topic_matches(pattern, address) for pattern in allowed)
            self.assertEqual(is_allowed, is_meant and address not in ("work", "work.retry", "work.parking"))
        else:
            self.assertTrue(is_allowed)
