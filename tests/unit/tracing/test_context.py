"""The trace context in headers."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from provider_gateway.tracing.context import TraceContext, context_of, parse_context, replaced

TRACE, SPAN = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
SENT = f"00-{TRACE}-{SPAN}-01"


class ParseTests(SynchronousTestCase):
    """Values of headers, as others send them."""

    def test_sampled(self) -> None:
        """Ids and the flag are read; other flags do not matter."""
        for flags, is_sampled in (("01", True), ("00", False), ("03", True), ("fe", False)):
            found = parse_context(f"00-{TRACE}-{SPAN}-{flags}", "a=1,b=2")
            self.assertEqual(found, TraceContext(TRACE, SPAN, is_sampled, "a=1,b=2"))

    def test_later_version(self) -> None:
        """A later version is read as far as it is known, and may say more."""
        for sent in (f"cc-{TRACE}-{SPAN}-01", f"cc-{TRACE}-{SPAN}-01-what the future brings"):
            self.assertEqual(parse_context(sent), TraceContext(TRACE, SPAN, True))

    def test_malformed(self) -> None:
        """Whatever is malformed begins a new trace."""
        for sent in (
            *("", "00", SENT.upper(), SENT + "-x", SENT + " ", f"ff-{TRACE}-{SPAN}-01", f"00-{'0' * 32}-{SPAN}-01"),
            *(
                f"00-{TRACE}-{'0' * 16}-01",
                f"00-{TRACE[1:]}-{SPAN}-01",
                f"cc-{TRACE}-{SPAN}-01.x",
                None,
                7,
                b"x",
                [SENT],
            ),
            f"00-{TRACE}-{SPAN}-01\n",
        ):
            self.assertIsNone(parse_context(sent), repr(sent))

    def test_state(self) -> None:
        """A ``tracestate`` that is malformed or too long is dropped, and the rest counts."""
        for state in ("a=\n", "ä=1", "a=" + "x" * 511, 7, None):
            self.assertEqual(parse_context(SENT, state), TraceContext(TRACE, SPAN, True), repr(state))


class HeadersTests(SynchronousTestCase):
    """Contexts in the headers of messages."""

    def test_any_case(self) -> None:
        """Names are found in whatever case; others, and names that are no text, do not matter."""
        for name, state in (
            ("traceparent", "tracestate"),
            ("Traceparent", "Tracestate"),
            ("TRACEPARENT", "traceState"),
        ):
            found = context_of({"x": 1, b"\xff": 2, name: SENT, state: "a=1"})
            self.assertEqual(found, TraceContext(TRACE, SPAN, True, "a=1"))
        self.assertIsNone(context_of({"tracestate": "a=1"}))

    def test_replaced(self) -> None:
        """The headers of another span take the place of those that were there, in whatever case."""
        before = {"Traceparent": "x", "TRACESTATE": "a=1", "traceparent": "y", "n": 1}
        own = TraceContext(TRACE, SPAN, False)
        self.assertEqual(replaced(before, own), {"n": 1, "traceparent": f"00-{TRACE}-{SPAN}-00"})
        self.assertEqual(context_of(replaced(before, own._replace(state="b=2"))), own._replace(state="b=2"))
