"""Request ids."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from provider_gateway.errors import BadRequest
from provider_gateway.message.ids import checked_rquid, rquid_of


class RequestIdTests(SynchronousTestCase):
    """``RqUID``."""

    def test_limits(self) -> None:
        """An id from a caller is 1 to 128 visible ASCII characters; anything else is answered with 400."""
        for accepted in ("a", "x" * 128, "!~", "0c6c3f0e-8b7c-4b0e-9d5e-000000000000"):
            self.assertEqual(accepted, checked_rquid(accepted))
        for refused in ("", "x" * 129, "a b", "a\n", "\n", "\x7f", "é", "a\x00"):
            error = self.assertRaises(BadRequest, checked_rquid, refused)
            self.assertIn("RqUID", error.detail, repr(refused))

    def test_of_a_message(self) -> None:
        """The valid id of a message is used, in any spelling of the header's name."""
        for name in ("RqUID", "rquid", "RQUID"):
            self.assertEqual("abc", rquid_of({"other": "x", name: "abc"}), name)

    def test_fresh_one(self) -> None:
        """A message without a valid id gets a new one each time."""
        for headers in ({}, {"RqUID": ""}, {"RqUID": "a b"}, {"RqUID": 5}, {"RqUID": None}, {"RqUID": "x" * 129}):
            first, second = rquid_of(headers), rquid_of(headers)
            self.assertNotEqual(first, second, repr(headers))
            self.assertEqual(first, checked_rquid(first))
