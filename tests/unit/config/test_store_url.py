"""Addresses of the result store: SQLite's path, PostgreSQL's URL as libpq reads it, and masked passwords."""

from __future__ import annotations

from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from provider_gateway.config.store_url import parse_store_url


class ParseTests(SynchronousTestCase):
    """Addresses and mistakes."""

    def test_sqlite(self) -> None:
        """The path is absolute with three slashes and, as SQLAlchemy writes it, with four; it is percent-decoded."""
        for text, path in (
            ("sqlite:///data/results.db", "/data/results.db"),
            ("sqlite:////data/results.db", "/data/results.db"),
            (" SQLite:///r.db\n", "/r.db"),
            ("sqlite:///a%20b/%C3%A4%3F.db", "/a b/ä?.db"),
        ):
            url = parse_store_url(text)
            self.assertEqual((Path(path), f"sqlite://{path}"), (url.path, str(url)), text)

    def test_postgresql(self) -> None:
        """The text goes to libpq as it is, with the scheme in lower case."""
        for text in (
            "postgresql://h/db",
            "postgresql://u:p@h1:1,[::1]:2/db?sslmode=verify-full&target_session_attrs=read-write",
            "postgresql:///db?host=/run/postgresql",
            "postgresql://%2Frun%2Fpostgresql/db",
            "postgresql://",
        ):
            url = parse_store_url(text)
            self.assertEqual((None, text), (url.path, url.reveal()))
        self.assertEqual("postgresql://u@h/DB", parse_store_url("Postgres://u@h/DB").reveal())

    def test_passwords_are_masked(self) -> None:
        """No text form of an address shows a password, wherever libpq takes it from."""
        for text, shown in (
            ("postgresql://u:hunter2@h/db", "postgresql://u:***@h/db"),
            ("postgresql://u:hunter2:hunter2@h1,h2/db", "postgresql://u:***@h1,h2/db"),
            ("postgresql://:hunter2@h/db", "postgresql://:***@h/db"),
            ("postgresql://h/db?password=hunter2&sslmode=require", "postgresql://h/db?password=***&sslmode=require"),
            ("postgresql://h?user=u&sslpassword=hunter2", "postgresql://h?user=u&sslpassword=***"),
            ("postgresql://h?PassWord=hunter2", "postgresql://h?PassWord=***"),
            ("postgresql://h?p%61ssword=hunter2", "postgresql://h?p%61ssword=***"),
            ("postgresql://h?passfile=/hunter2", "postgresql://h?passfile=***"),
            ("postgresql://u@h:5432/db", "postgresql://u@h:5432/db"),
        ):
            url = parse_store_url(text)
            self.assertEqual(shown, str(url))
            self.assertEqual(f"StoreURL({shown!r})", repr(url))
            self.assertEqual(text, url.reveal())

    def test_mistakes(self) -> None:
        """Each mistake is told without the text, which may hold a password."""
        for text, expected in (
            ("", "sqlite:///path/results.db or postgresql://…"),
            ("mysql://u:hunter2@h", "sqlite:///path/results.db or postgresql://…"),
            ("/data/hunter2.db", "sqlite:///path/results.db or postgresql://…"),
            ("sqlite:results.db", "sqlite:///path/results.db or postgresql://…"),
            ("sqlite://results.db", "three slashes"),
            ("sqlite://", "the path of a file"),
            ("sqlite:///", "the path of a file"),
            ("sqlite:///data/", "the path of a file"),
            ("sqlite:///:memory:", "the path of a file"),
            ("sqlite:///a%00b", "the path of a file"),
            ("sqlite:///a%ff", "UTF-8"),
            ("sqlite:///a.db?mode=ro", "a path alone"),
            ("postgresql://u:p@hunter2@h/db", "one '@'"),
            ("postgresql://u:p/hunter2@h/db", "after '@'"),
            ("postgresql://u:p#hunter2@h/db", "after '@'"),
            ("postgresql://u:p?hunter2@h/db", "hosts with ports"),
            ("postgresql://u:1?hunter2@h/db", "name=value"),
            ("postgresql://u@h:hunter2/db", "hosts with ports"),
            ("postgresql://u:hunter\n2@h/db", "no line ends"),
        ):
            error = self.assertRaises(ValueError, parse_store_url, text)
            self.assertIn(expected, str(error), text)
            self.assertNotIn("hunter", str(error))
