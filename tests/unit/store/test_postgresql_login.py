"""The login at PostgreSQL: what is added to the URL, what is refused, and errors that show no password."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import psycopg
from twisted.trial.unittest import SynchronousTestCase

from provider_gateway.config.store_url import parse_store_url
from provider_gateway.errors import SettingsError
from provider_gateway.store.postgresql_login import in_one_line, parameters


def read(url: str) -> dict[str, Any]:
    """The parameters of a connection to an address."""
    return parameters(parse_store_url(url))


class ParametersTests(SynchronousTestCase):
    """The parameters of a connection."""

    def setUp(self) -> None:
        authorities = Path(self.mktemp())
        authorities.touch()
        self.authorities = str(authorities)
        self.patch(os, "environ", {**os.environ, "SSL_CERT_FILE": self.authorities})

    def test_tls_is_verified(self) -> None:
        """TLS is verified with the CAs of this machine, unless no byte leaves it."""
        for place, mode in (
            ("db.example", "verify-full"),
            ("10.0.0.7:5433", "verify-full"),
            ("localhost,db.example", "verify-full"),
            ("[fe80::1]", "verify-full"),
            ("localhost.example", "verify-full"),
            ("localhost", None),
            ("127.0.0.1:5433,localhost:5434", None),
            ("[::1]:5433", None),
            ("", None),
            ("%2Frun%2Fpostgresql", None),
        ):
            found = read(f"postgresql://u:secret@{place}/d")
            self.assertEqual(found.get("sslmode"), mode, place)
            self.assertEqual(found.get("sslrootcert"), self.authorities if mode else None, place)

    def test_host_address_decides(self) -> None:
        """``hostaddr`` is where a connection goes, whatever the host's name."""
        self.assertEqual(read("postgresql://localhost/d?hostaddr=10.0.0.7")["sslmode"], "verify-full")
        self.assertNotIn("sslmode", read("postgresql://db.example/d?hostaddr=127.0.0.1"))

    def test_url_wins(self) -> None:
        """What the URL says is not changed; ``system`` are the CAs of this machine."""
        found = read("postgresql://db/d?sslmode=require&connect_timeout=9&target_session_attrs=any&application_name=x")
        self.assertEqual(
            [found[name] for name in ("sslmode", "connect_timeout", "target_session_attrs", "application_name")],
            ["require", "9", "any", "x"],
        )
        self.assertNotIn("sslrootcert", found)
        self.assertEqual(read("postgresql://db/d?sslrootcert=/ca.pem")["sslrootcert"], "/ca.pem")
        for query in ("sslrootcert=system", "sslmode=verify-full", "sslmode=verify-full&sslrootcert=system"):
            self.assertEqual(read(f"postgresql://db/d?{query}")["sslrootcert"], self.authorities)

    def test_no_startup_parameters(self) -> None:
        """Nothing is sent at the start of a connection that PgBouncer refuses."""
        self.assertNotIn("options", read("postgresql://db/d"))

    def test_refused(self) -> None:
        """An address that cannot be one is refused in one line that does not quote it."""
        for url, part in (
            ("postgresql://u:secret%zz@h/d", "libpq can read"),
            ("postgresql://u:secret@h/d?sslmod=require", "not 'sslmod'"),
            ("postgresql://u:secret@h/d?user=secret%zz", "libpq can read"),
            ("postgresql://u:secret@h/d?sslmode=verify_full", "verify-full"),
            ("postgresql://u:secret@h/d?connect_timeout=secret", "connect_timeout as whole seconds"),
        ):
            line = str(self.assertRaises(SettingsError, read, url))
            self.assertTrue(line.startswith("RESULT_STORE: expected "), line)
            self.assertIn(part, line)
            self.assertNotIn("secret", line)
            self.assertNotIn("\n", line)


class ErrorTests(SynchronousTestCase):
    """Errors as one line."""

    def said(self, text: str, **given: str) -> str:
        return in_one_line(psycopg.OperationalError(text), given)

    def test_several_hosts(self) -> None:
        """Each failed host is named once."""
        refused = (
            'connection failed: connection to server at "127.0.0.1", port 1 failed: Connection refused\n'
            "\tIs the server running on that host and accepting TCP/IP connections?"
        )
        text = (
            f"{refused}\nMultiple connection attempts failed. All failures were:\n"
            "- host: 'db1', port: '5432', hostaddr: '10.0.0.7': connection timeout expired\n"
            f"- host: 'localhost', port: '1', hostaddr: '127.0.0.1': {refused}"
        )
        self.assertEqual(
            self.said(text),
            "db1:5432: connection timeout expired; "
            'connection to server at "127.0.0.1", port 1 failed: Connection refused',
        )

    def test_advice(self) -> None:
        """What the operator can mend is said."""
        for text, advice in (
            ('FATAL:  password authentication failed for user "u"', "check user and password"),
            ("FATAL:  sorry, too many clients already", "raise max_connections, or put PgBouncer in front"),
            ("SSL error: certificate verify failed", "sslrootcert=FILE in the URL names the CA"),
            ('FATAL:  database "d" does not exist', "create the database, owned by the role"),
        ):
            self.assertEqual(self.said(f"connection failed: {text}\n{text}"), f"{text}: {advice}")
        denied = psycopg.errors.InsufficientPrivilege("permission denied for schema public")
        self.assertIn("grant the role CREATE", in_one_line(denied, {}))

    def test_secrets(self) -> None:
        """A password does not appear, whatever the error; a short one does not garble its words."""
        said = self.said("a word (hunter2) of pass: hunter2", password="hunter2", sslpassword="pass")
        self.assertEqual(said, "a word (***) of ***: ***")
        self.assertEqual(self.said("password failed", password="ss"), "password failed")

    def test_empty(self) -> None:
        """An error without a text is named."""
        self.assertEqual(self.said(""), "OperationalError('')")
