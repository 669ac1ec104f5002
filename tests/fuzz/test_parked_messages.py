"""Parked messages with any properties: those that are read fast are read as all others are."""

from __future__ import annotations

from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from provider_gateway.parking.decoding import decoded_message
from provider_gateway.parking.reading import message_of, outline_of
from tests.fuzz.field_tables import Encoded, properties
from tests.fuzz.profiles import fuzzed

#: Places and values of bytes that differ in the next message of the same length.
changes = st.lists(st.tuples(st.integers(0, 2000), st.integers(1, 255)), min_size=1, max_size=6)


class ParkedMessagesTests(SynchronousTestCase):
    """A message is read by the layout of an earlier one only if it has that layout."""

    @fuzzed(400, first=properties(), changed=changes, body=st.binary(max_size=40))
    def test_read(self, first: Encoded, changed: list[tuple[int, int]], body: bytes) -> None:
        """All fields are the same, id and headers, too; so are those of a message that differs in some bytes."""
        other = bytearray(first.data)
        for place, value in changed:
            other[place % len(other)] ^= value
        for data in (first.data, bytes(other), first.data):
            try:
                slow = decoded_message(7, "key", data, body)
            except Exception:  # noqa: BLE001 - no broker sends what is malformed
                continue
            fast, outline = message_of(7, "key", data, body), outline_of(data, len(body))
            self.assertEqual(slow.headers, dict(fast.headers))
            for name in set(slow.__dataclass_fields__) - {"headers"}:
                self.assertEqual(getattr(slow, name), getattr(fast, name), name)
            for name in outline.__dataclass_fields__:
                self.assertEqual(getattr(slow, name), getattr(outline, name), name)
