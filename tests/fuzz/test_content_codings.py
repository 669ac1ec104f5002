"""Content codings: whatever a message or a caller says, codings are tokens on one line, and only accepted ones pass."""

from __future__ import annotations

import re

from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from provider_gateway.content_codings import accepted_codings, are_accepted, coding_in_message, codings_of
from tests.fuzz.headers import anything
from tests.fuzz.profiles import fuzzed

_CODINGS = ("gzip", "x-gzip", "deflate", "br", "zstd", "snappy")
_REGISTERED = frozenset({"*", "aes128gcm", "br", "compress", "dcb", "dcz", "deflate", "exi", "gzip", "zstd"})
_LIST = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+(?:, [!#$%&'*+.^_`|~0-9A-Za-z-]+)*", re.ASCII)
_members = st.sampled_from(
    (*_CODINGS, "GZIP", "identity", "Identity", "utf-8", "", " ", "base64", "a b", "a;q=1", "\n", "\xe4")
)
_values = st.one_of(st.lists(_members, max_size=3).map(",".join), st.text(max_size=8), anything)
_names = st.sampled_from(("Content-Encoding", "content-encoding", "X-A", "CONTENT-ENCODING"))
#: Members of Accept-Encoding, and whether they accept.
_weights = st.sampled_from(
    ((b"", True), (b";q=1", True), (b"; Q = 0.001", True), (b";q=0", False), (b" ; q=0.000", False))
)
_wishes = st.dictionaries(st.sampled_from((*_CODINGS[2:], "gzip", "*")), _weights, max_size=4)


class CodingTests(SynchronousTestCase):
    """Codings of messages, and callers' wishes."""

    @fuzzed(300, value=_values, headers=st.dictionaries(_names, _values, max_size=2))
    def test_message(self, value: object, headers: dict[str, object]) -> None:
        """The coding of any message is none, an error, or a list of tokens, each of which the message names."""
        try:
            coding = coding_in_message(value, headers)
        except ValueError:
            self.assertIsNotNone(value)
            return
        if coding is None:
            return
        self.assertEqual(_LIST.fullmatch(coding)[0], coding)  # type: ignore[index] # it is there
        named = {part.strip(" \t") for each in (value, *headers.values()) for part in str(each).split(",")}
        self.assertLessEqual(set(codings_of(coding)), named)
        self.assertEqual(", ".join(codings_of(coding)), coding)

    @fuzzed(300, wishes=_wishes, coding=st.lists(st.sampled_from(_CODINGS), min_size=1, max_size=2), data=st.data())
    def test_accepted(self, wishes: dict[str, tuple[bytes, bool]], coding: list[str], data: st.DataObject) -> None:
        """A body passes if each of its codings is named with a weight, or is not named and ``*`` is."""
        members = [name.encode() + weight for name, (weight, _) in wishes.items()]
        cut = data.draw(st.integers(0, len(members)))
        lines = [b", ".join(members[:cut]), b" ,".join(members[cut:])]
        others = wishes.get("*", (b"", False))[1]
        expected = all(wishes.get(each.removeprefix("x-"), (b"", others))[1] for each in coding)
        self.assertEqual(are_accepted(", ".join(coding).upper(), accepted_codings(lines)), expected)
        self.assertTrue(are_accepted(", ".join(coding), accepted_codings(None)))

    @fuzzed(200, lines=st.lists(st.binary(max_size=200), max_size=3))
    def test_any_wish(self, lines: list[bytes]) -> None:
        """Any bytes of Accept-Encoding are read, and what is kept of them is small."""
        accepted = accepted_codings(lines)
        assert accepted is not None
        self.assertLessEqual(len(accepted - _REGISTERED), 101)
        self.assertLessEqual(sum(map(len, accepted - _REGISTERED)), 200)
