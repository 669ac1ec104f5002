"""The queries of the page's addresses."""

from __future__ import annotations

import json

from twisted.trial.unittest import SynchronousTestCase

from provider_gateway.errors import BadRequest
from provider_gateway.parking.errors import FilterError
from provider_gateway.workbench.queries import Conditions, query_of, whole_number

NOW = 1_795_750_000.0


class QueryTests(SynchronousTestCase):
    """Reading."""

    def test_values(self) -> None:
        """Percent signs and plus signs mean what they mean in forms; a field that is empty is none."""
        self.assertEqual(
            {"queue": "a/b%&=ä", "rquid": "x y"}, query_of(b"/workbench?queue=a%2Fb%25%26%3D%C3%A4&reason=&rquid=x+y")
        )
        self.assertEqual({}, query_of(b"/workbench"))

    def test_no_text(self) -> None:
        """Bytes that are no UTF-8 are kept apart from all texts."""
        self.assertEqual({"queue": "\udcff"}, query_of(b"/?queue=%FF"))

    def test_refused(self) -> None:
        """A parameter that comes twice, and too many of them, are refused."""
        for query in (b"a=1&a=2", b"&".join(b"%d=1" % number for number in range(30))):
            self.assertRaises(BadRequest, query_of, b"/?" + query)

    def test_numbers(self) -> None:
        """A number is digits, and not too many."""
        self.assertEqual((12, -1), (whole_number({"after": "12"}, "after", -1), whole_number({}, "after", -1)))
        for wrong in ("-1", "1.5", "x", "٣", "9" * 11):
            self.assertRaises(BadRequest, whole_number, {"after": wrong}, "after", 0)


class ConditionsTests(SynchronousTestCase):
    """The filter of a list."""

    def test_none(self) -> None:
        """Without a condition everything is meant, also with blanks in a field."""
        for query in ({}, {"queue": "fib"}, {"reason": "  "}):
            self.assertTrue(Conditions.of(query, NOW).is_everything)

    def test_filter(self) -> None:
        """Each field is a condition."""
        found = Conditions.of(
            {"reason": "timeout", "rquid": "r", "identity": "i", "older_than": "2h", "grep": "x"}, NOW
        )
        self.assertEqual(frozenset({"timeout"}), found.filter.reasons)
        self.assertEqual(
            ("r", "i", "x", NOW - 7200),
            (found.filter.rquid, found.filter.identity, found.filter.grep, found.filter.before),
        )
        self.assertFalse(found.is_everything)

    def test_malformed(self) -> None:
        """A condition that is malformed is an error: it must not make everything match."""
        for query in ({"older_than": "soon"}, {"since": "-1h"}, {"grep": "("}):
            self.assertRaises(FilterError, Conditions.of, query, NOW)

    def test_address(self) -> None:
        """An address keeps the conditions, and escapes them."""
        found = Conditions.of({"reason": "a&b=\"'<", "grep": "%41+1"}, NOW)
        address = found.address("q/1 %", after=99)
        self.assertEqual(
            "/workbench/parking?queue=q%2F1%20%25&reason=a%26b%3D%22%27%3C&grep=%2541%2B1&after=99", address
        )
        self.assertEqual(
            {"queue": "q/1 %", "reason": "a&b=\"'<", "grep": "%41+1", "after": "99"}, query_of(address.encode())
        )
        self.assertEqual("timeout", query_of(found.address("q", reason="timeout").encode())["reason"])

    def test_document(self) -> None:
        """What is asked for later is what is seen now: times ago become times."""
        document = json.loads(Conditions.of({"reason": "timeout", "older_than": "2h"}, NOW).document())
        self.assertEqual({"reason": "timeout", "older_than": "2026-11-27T01:26:40+00:00"}, document)
        self.assertEqual(NOW - 7200, Conditions.of(document, NOW + 999).filter.before)
