"""PostgreSQL as the database of the result store: what needs no server."""

from __future__ import annotations

import psycopg
from twisted.trial.unittest import SynchronousTestCase

from provider_gateway.config.store_url import parse_store_url
from provider_gateway.errors import SettingsError
from provider_gateway.store.engine import Conflict, Verdict
from provider_gateway.store.postgresql import PostgreSQL
from provider_gateway.store.schema import VERSION, refuse_newer


class JudgeTests(SynchronousTestCase):
    """What errors mean."""

    def setUp(self) -> None:
        self.engine = PostgreSQL(parse_store_url("postgresql://localhost/results"))

    def test_newer_schema(self) -> None:
        """A schema that a newer program has brought is the store's fault: no answer is replaced on its account."""
        error = self.assertRaises(SettingsError, refuse_newer, VERSION + 1)
        self.assertIs(self.engine.judge(error), Verdict.AWAY)
        self.assertIn(f"version {VERSION + 1}", self.engine.explain(error))

    def test_verdicts(self) -> None:
        """Only what certainly is an operation's fault counts as that."""
        for error, verdict in (
            (Conflict(), Verdict.REPEAT),
            (psycopg.errors.SerializationFailure(), Verdict.REPEAT),
            (psycopg.errors.DeadlockDetected(), Verdict.REPEAT),
            (psycopg.errors.CharacterNotInRepertoire(), Verdict.DATA),
            (psycopg.errors.NotNullViolation(), Verdict.DATA),
            (psycopg.errors.AdminShutdown(), Verdict.AWAY),
            (psycopg.errors.InsufficientPrivilege(), Verdict.AWAY),
            (psycopg.OperationalError(), Verdict.AWAY),
            (OSError(), Verdict.AWAY),
        ):
            self.assertIs(self.engine.judge(error), verdict, repr(error))
