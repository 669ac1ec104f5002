"""The headers that say how a request is to be served."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from provider_gateway.errors import BadRequest
from provider_gateway.gateway.request_terms import request_terms
from provider_gateway.results.errors import NotConfigured


def key_of(*values: str) -> str | None:
    """The key that is read of ``Idempotency-Key`` headers."""
    terms = request_terms({b"Idempotency-Key": [each.encode("latin-1") for each in values]}, has_store=True)
    return None if terms is None else terms.key


class IdempotencyKeyTests(SynchronousTestCase):
    """The forms of an ``Idempotency-Key``."""

    def test_quoted(self) -> None:
        """A string of structured fields, with escapes, spaces and parameters. Its quotes are no part of the key."""
        for value, key in (
            ('"8e03978e-40d5"', "8e03978e-40d5"), ("8e03978e-40d5", "8e03978e-40d5"), ('"a b,c;d"', "a b,c;d"),
            (r'"a\"b\\c"', r'a"b\c'), ('"k";v=1', "k"), ('"k"; v="1, 2" ; w', "k"), ('" "', " "),
            ('"' + "k" * 255 + '"', "k" * 255), ("k" * 255, "k" * 255), ('"' + r"\"" * 255 + '"', '"' * 255),
        ):  # fmt: skip
            self.assertEqual(key, key_of(value), value)

    def test_bare(self) -> None:
        """Without quotes: visible ASCII, such as UUIDs and base64."""
        for value in ("order:17/a", "YWJj+/==", "1", "'k'", ":YWJj:", "?1", "{a}"):
            self.assertEqual(value, key_of(value))

    def test_malformed(self) -> None:
        """Empty, too long, not ASCII, several in one or in two headers, or half a string: 400."""
        for value in (
            *(
                "",
                '""',
                "k" * 256,
                '"' + "k" * 256 + '"',
                '"k',
                'k"',
                '"k" "l"',
                '"k", "l"',
                "k, l",
                "k l",
                "k;l",
                "a\\b",
            ),
            *("\xe9", '"\xe9"', '"a\tb"', '"a\x7f"', r'"a\b"', '"a\\', "a\x00b", '"k";', '"k";=1', '"k"x', '"k";V=1'),
        ):
            self.assertRaises(BadRequest, key_of, value)
        self.assertRaises(BadRequest, key_of, "k", "k")

    def test_time(self) -> None:
        """The longest header is read at once, whatever is in it."""
        for value in ('"k";' + 'a="b"' * 3_000 + '"', '"' + "\\" * 16_000, '"k"' + ";a" * 8_000 + '"'):
            self.assertRaises(BadRequest, key_of, value)


class TermsTests(SynchronousTestCase):
    """All three headers."""

    def test_nothing_special(self) -> None:
        """Preferences that we do not know leave a request as it is."""
        self.assertIsNone(request_terms({b"Prefer": [b"return=minimal, wait=x"]}, has_store=True))

    def test_seconds(self) -> None:
        """How long a caller waits, and whether its message is still started after that."""
        for headers, seconds, has_deadline in (
            ({b"Prefer": [b"respond-async"]}, 0, False),
            ({b"Prefer": [b"wait=5"]}, 5, False),
            ({b"Prefer": [b"respond-async, wait=91"]}, 90, False),
            ({b"Prefer": [b"wait=0"], b"Idempotency-Key": [b"k"]}, 0, False),
            ({b"Idempotency-Key": [b"k"]}, 90, True),
            ({b"Idempotency-Key": [b"k"], b"Webhook": [b"w"]}, 90, False),
            ({b"Webhook": [b"w"]}, 90, False),
        ):
            terms = request_terms(headers, has_store=True)
            assert terms is not None
            self.assertEqual((seconds, has_deadline), (terms.seconds(90), terms.has_deadline), headers)

    def test_no_store(self) -> None:
        """Without a store ``Prefer`` is ignored; a key or a webhook is an error, whatever its value."""
        self.assertIsNone(request_terms({b"Prefer": [b"respond-async"]}, has_store=False))
        for name, value in (
            (b"Idempotency-Key", b"k"),
            (b"Idempotency-Key", b'"'),
            (b"Webhook", b"w"),
            (b"Webhook", b""),
        ):
            error = self.assertRaises(NotConfigured, request_terms, {name: [value]}, has_store=False)
            self.assertIn(name.decode(), str(error))
