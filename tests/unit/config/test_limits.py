"""The limits of the HTTPS listener: each has its variable, and contradictions are errors."""

from __future__ import annotations

from dataclasses import asdict, fields
from pathlib import Path

from provider_gateway.config.limits import Limits
from tests.unit.config.base import SettingsTestCase

#: The variable of each limit.
VARIABLES = {
    "handshake_timeout": "HTTP_HANDSHAKE_TIMEOUT",
    "headers_timeout": "HTTP_HEADERS_TIMEOUT",
    "body_timeout": "HTTP_BODY_TIMEOUT",
    "write_timeout": "HTTP_WRITE_TIMEOUT",
    "idle_timeout": "HTTP_IDLE_TIMEOUT",
    "max_connections": "HTTP_MAX_CONNECTIONS",
    "max_connections_per_identity": "HTTP_MAX_CONNECTIONS_PER_IDENTITY",
    "max_headers": "HTTP_MAX_HEADERS",
    "max_header_bytes": "HTTP_MAX_HEADER_BYTES",
    "max_body_bytes": "MAX_BODY_BYTES",
    "max_buffered_bytes": "MAX_BUFFERED_BYTES",
}


class LimitsTests(SettingsTestCase):
    """The limits, read from variables."""

    def test_defaults(self) -> None:
        """The defaults are the documented ones."""
        expected = {
            "handshake_timeout": 10, "headers_timeout": 10, "body_timeout": 60, "write_timeout": 60, "idle_timeout": 60,
            "max_connections": 2000, "max_connections_per_identity": 1000, "max_headers": 100,
            "max_header_bytes": 16_384, "max_body_bytes": 10 * 2**20, "max_buffered_bytes": 256 * 2**20,
        }  # fmt: skip
        self.assertEqual(expected, asdict(self.load().limits))
        self.assertEqual(Limits(), self.load().limits)

    def test_each_variable(self) -> None:
        """Each limit is set by its own variable, which sets no other limit."""
        defaults = asdict(Limits())
        for field in fields(Limits):
            value = defaults[field.name] + 1
            found = asdict(self.load(**{VARIABLES[field.name]: str(value)}).limits)
            self.assertEqual({**defaults, field.name: value}, found)

    def test_ranges(self) -> None:
        """A value out of range is an error that names the variable."""
        for field in fields(Limits):
            wrong = ["0", "-1", "x"] + (["inf", "604801"] if field.name.endswith("timeout") else ["1.5"])
            if field.name == "max_header_bytes":
                wrong += ["1023", "65537"]
            for value in wrong:
                line = self.refusal(**{VARIABLES[field.name]: value})
                self.assertTrue(line.startswith(f"{VARIABLES[field.name]}: expected"), line)

    def test_one_body_has_to_fit(self) -> None:
        """MAX_BUFFERED_BYTES below MAX_BODY_BYTES is an error; equal values are not."""
        line = "MAX_BUFFERED_BYTES: expected at least MAX_BODY_BYTES: one body has to fit"
        for values in ({"MAX_BUFFERED_BYTES": "10485759"}, {"MAX_BODY_BYTES": "268435457"}):
            self.assertEqual(line, self.refusal(**values))
        limits = self.load(MAX_BUFFERED_BYTES="7", MAX_BODY_BYTES="7").limits
        self.assertEqual((7, 7), (limits.max_body_bytes, limits.max_buffered_bytes))

    def test_access_file_without_tls(self) -> None:
        """HTTP_ACCESS is an error with HTTP_TLS off: without client certificates there are no identities."""
        line = "HTTP_ACCESS: needs HTTP_TLS: without client certificates nobody has an identity"
        self.assertEqual(line, self.refusal(HTTP_ACCESS="access.yaml", HTTP_TLS="false"))
        self.assertEqual(Path("access.yaml"), self.load(HTTP_ACCESS="access.yaml").http_access)
        self.assertIsNone(self.load(HTTP_TLS="false").http_access)
