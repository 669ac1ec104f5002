"""Declared types of bodies: every spelling of plain JSON is read, and nothing else."""

from __future__ import annotations

from tests.support.api import KEY, APITestCase


class MediaTypeTests(APITestCase):
    """Requests with all kinds of Content-Type and Content-Encoding."""

    max_in_flight = 100

    def test_json(self) -> None:
        """JSON, in any case, with parameters, and with UTF-8 or its part US-ASCII as charset, in each spelling."""
        for parameters in (
            "", ";", "; ", ";;", "; charset=utf-8", ";charset=UTF-8", "; charset=utf8", "; charset=UTF8",
            '; charset="utf-8"', '; Charset="UTF8"', "; charset=us-ascii", "; charset=ascii", "; charset=",
            '; charset=""', "; charset = utf-8", "; charset=utf-8; charset=utf-8", "; charset=utf-8;",
            "; version=1; charset=utf8",
            '; profile="a;charset=latin1"', '; profile="a\\";charset=latin1"', "; nonsense", "; charsets=latin1",
        ):  # fmt: skip
            for name in ("application/json", "Application/JSON"):
                calls = len(self.rpc.calls)
                self.post(KEY, f"Content-Type: {name}{parameters}")
                self.assertEqual(len(self.rpc.calls), calls + 1, parameters)

    def test_others(self) -> None:
        """Another type or charset, also as the second of two, or none, is answered with 415."""
        for given in (
            "", "text/json", "application/jsonp", "application/json,text/plain", "application/json; charset=latin1",
            "application/json; charset=utf-16", "application/json; charset=utf-8; charset=iso-8859-1",
            'application/json; charset="utf-16"', "application/json; a=b;CHARSET=cp1252", "; charset=utf-8",
            "application/json\r\nContent-Type: text/plain", 'application/json; a="b; charset=latin1',
        ):  # fmt: skip
            self.assert_problem(self.post(KEY, f"Content-Type: {given}"), 415, "unsupported-media-type")
        self.assertEqual(self.rpc.calls, [])

    def test_no_coding(self) -> None:
        """A Content-Encoding that names no coding is none."""
        for given in ("", "identity", "IDENTITY", " , ,", "identity, identity", "\r\nContent-Encoding: identity"):
            calls = len(self.rpc.calls)
            self.post(KEY, f"Content-Encoding: {given}")
            self.assertEqual(len(self.rpc.calls), calls + 1, given)

    def test_coding(self) -> None:
        """A coding is answered with 415, in any spelling, and wherever it stands."""
        for given in ("gzip", "GZIP", "x-gzip", "identity, br", "utf-8", "identity\r\nContent-Encoding: gzip"):
            detail = self.assert_problem(self.post(KEY, f"Content-Encoding: {given}"), 415).problem["detail"]
            self.assertIn("send the body as it is", detail)
        self.assertEqual(self.rpc.calls, [])
