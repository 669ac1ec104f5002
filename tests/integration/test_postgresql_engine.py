"""PostgreSQL as an engine of the result store: rows, conflicts, schema, and what is said of a server that is wrong."""

from __future__ import annotations

import threading
import time
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

import psycopg
from twisted.trial.unittest import SynchronousTestCase

from devtools.postgresql import CERTIFIED, PostgreSQL as Server, url
from provider_gateway.config.store_url import parse_store_url
from provider_gateway.errors import SettingsError
from provider_gateway.store.checking import try_store
from provider_gateway.store.engine import Conflict, Verdict
from provider_gateway.store.postgresql import PostgreSQL
from provider_gateway.store.records import Record, Result, Status
from provider_gateway.store.schema import VERSION
from tests.support.certificates import certificates
from tests.support.postgresql import shared_pooler, shared_server

if TYPE_CHECKING:
    from collections.abc import Callable

#: Text that PostgreSQL does not take as it is.
ODD = '\0 \ud800 \\x00 {"ü",NULL} %s \' 模型'


def record(id_: str, **values: Any) -> Record:
    """A pending record."""
    known = {"owner": "me", "routing_key": "predict.now", "rquid": "1", "created": 1000.001, "expires": 2000.0}
    return Record(id=id_, **{**known, **values})


class EngineTestCase(SynchronousTestCase):
    """An engine with a database of its own, and connections to it."""

    def setUp(self) -> None:
        self.server = shared_server()
        self.database = self.server.new_database()
        self.engine = PostgreSQL(parse_store_url(self.server.url(self.database)))

    def connect(self, engine: PostgreSQL | None = None, *, migrate: bool = True) -> Any:
        engine = engine or self.engine
        connection = psycopg.connect(**engine.arguments)
        self.addCleanup(connection.close)
        engine.prepare(connection)
        if migrate:
            engine.migrate(connection)
        return connection

    def write(self, connection: Any, *records: Record) -> None:
        with self.engine.writing(connection) as transaction:
            transaction.insert(records)

    def in_thread(self, run: Callable[[], object]) -> tuple[threading.Thread, list[object]]:
        """Run a function in a thread; the list gets its result, or its exception."""
        results: list[object] = []

        def work() -> None:
            try:
                results.append(run())
            except Exception as error:  # noqa: BLE001 - the test looks at it
                results.append(error)

        thread = threading.Thread(target=work, daemon=True)
        thread.start()
        self.addCleanup(thread.join, 10)
        return thread, results

    def wait_for_lock(self) -> None:
        """Wait until a transaction in this database waits for another one."""
        asked = f"SELECT count(*) FROM pg_stat_activity WHERE datname = '{self.database}' AND wait_event_type = 'Lock'"
        while self.server.sql(asked) == "0":
            time.sleep(0.01)


class RowsTests(EngineTestCase):
    """What is written is what is read."""

    def check_rows(self, engine: PostgreSQL) -> None:
        connection = self.connect(engine)
        full = record(
            ODD,
            owner=ODD,
            routing_key=ODD,
            rquid=ODD,
            webhook=ODD,
            key=b"\0\xff",
            fingerprint=b"",
            key_expires=3000.5,
            accept_by=1000.25,
        )
        bare = record("0", owner=None)
        done = replace(
            full,
            status=Status.FAILED,
            finished=1500.0,
            attempts=3,
            model_status=503,
            expires=9.0,
            key=None,
            accept_by=None,
        )
        result = Result(status=502, body=b"\0\xff" * 10, headers={ODD: ODD}, content_type=ODD, content_encoding=ODD)
        with engine.writing(connection) as transaction:
            transaction.insert([full, bare])
            self.assertEqual(transaction.records([ODD, "0", "none"]), [bare, full])
            self.assertEqual(transaction.holders([b"\0\xff", b"other"]), [full])
        with engine.writing(connection) as transaction:
            transaction.update([done])
            transaction.put_results([(full, replace(result, body=b"first")), (done, result)])
        with engine.reading(connection) as transaction:
            self.assertEqual(transaction.records([ODD]), [done])
            self.assertEqual(transaction.result(ODD), result)
            self.assertIsNone(transaction.result("0"))
            self.assertEqual(transaction.holders([b"\0\xff"]), [])
            self.assertEqual(transaction.newest(ODD, 8.0, Status.FAILED, 5, None), [done])
            self.assertEqual(transaction.overdue(2000.0, 5), [bare])
            self.assertEqual(transaction.figures().pending, 1)
        with engine.writing(connection) as transaction:
            transaction.delete([ODD, "none"])
            self.assertEqual(transaction.records([ODD, "0"]), [bare])
            self.assertIsNone(transaction.result(ODD))

    def test_direct(self) -> None:
        """All values come back, also text that PostgreSQL does not take as it is."""
        self.check_rows(self.engine)

    def test_pooler(self) -> None:
        """The same through PgBouncer in transaction mode, which gives each transaction another connection."""
        self.check_rows(PostgreSQL(parse_store_url(shared_pooler().url(self.database))))

    def test_other_encoding(self) -> None:
        """The same in a database that cannot hold most characters."""
        self.server.sql(
            f"CREATE DATABASE latin_{self.database} OWNER gateway ENCODING LATIN1 LOCALE 'C' TEMPLATE template0"
        )
        self.check_rows(PostgreSQL(parse_store_url(self.server.url(f"latin_{self.database}"))))

    def test_large_results(self) -> None:
        """Bodies that together are larger than one statement takes are all there."""
        connection = self.connect()
        bodies = {str(number): bytes([number]) * 7_000_000 for number in range(6)}
        with self.engine.writing(connection) as transaction:
            records = [record(id_) for id_ in bodies]
            transaction.insert(records)
            transaction.put_results([(each, Result(status=200, body=bodies[each.id])) for each in records])
        with self.engine.reading(connection) as transaction:
            for id_, body in bodies.items():
                found = transaction.result(id_)
                assert found is not None
                self.assertEqual(found.body, body)

    def test_purge(self) -> None:
        """What is past its time goes in portions; rows that somebody else has locked are left for later."""
        connection, other = self.connect(), self.connect()
        final = [record(str(number), status=Status.SUCCEEDED, expires=number) for number in range(6)]
        with self.engine.writing(connection) as transaction:
            transaction.insert([*final, record("pending", expires=0)])
            transaction.put_results([(each, Result(status=200, body=b"")) for each in final])
        with self.engine.writing(other) as holding:
            holding.records(["1"])
            with self.engine.writing(connection) as transaction:
                self.assertEqual(transaction.purge(104.0, 100.0, 3), 3 + 3)
            with self.engine.reading(connection) as transaction:
                self.assertEqual([each.id for each in transaction.records(map(str, range(6)))], ["1", "4", "5"])
        with self.engine.writing(connection) as transaction:
            self.assertEqual(transaction.purge(104.0, 100.0, 100), 2 + 2)
        with self.engine.reading(connection) as transaction:
            ids = [*map(str, range(6)), "pending"]
            self.assertEqual([each.id for each in transaction.records(ids)], ["5", "pending"])

    def test_failed_transaction(self) -> None:
        """A transaction that an exception leaves changes nothing, and the connection can be used again."""
        connection = self.connect()
        with self.assertRaises(ZeroDivisionError), self.engine.writing(connection) as transaction:
            transaction.insert([record("1")])
            raise ZeroDivisionError
        self.write(connection, record("2"))
        with self.engine.reading(connection) as transaction:
            self.assertEqual([each.id for each in transaction.records(["1", "2"])], ["2"])

    def test_swallowed_error(self) -> None:
        """A transaction in which a statement failed is not taken for committed."""
        connection = self.connect()
        with self.assertRaises(psycopg.OperationalError), self.engine.writing(connection) as transaction:
            transaction.insert([record("1")])
            with self.assertRaises(psycopg.Error):
                transaction.execute("SELECT 1 / 0")

    def test_nothing_stays_in_the_session(self) -> None:
        """A transaction leaves no setting, lock or prepared statement behind: the next client of a pooler gets it."""
        connection = self.connect()
        for _ in range(10):
            with self.engine.writing(connection) as transaction:
                transaction.records(["1"])
                self.assertEqual(transaction.execute("SHOW statement_timeout").fetchone()[0], "5s")
        for statement, expected in (
            ("SHOW statement_timeout", "0"),
            ("SHOW lock_timeout", "0"),
            ("SHOW idle_in_transaction_session_timeout", "0"),
            ("SELECT count(*) FROM pg_prepared_statements", 0),
            ("SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND pid = pg_backend_pid()", 0),
        ):
            self.assertEqual(connection.execute(statement).fetchone()[0], expected)

    def test_synchronous_commit(self) -> None:
        """What a server with ``synchronous_commit = off`` commits for us is on its disk; other values stay."""
        for given, expected in (("off", "on"), ("local", "local")):
            self.server.sql(f"ALTER DATABASE {self.database} SET synchronous_commit = {given}")
            with self.engine.writing(self.connect()) as transaction:
                self.assertEqual(transaction.execute("SHOW synchronous_commit").fetchone()[0], expected)


class ConflictTests(EngineTestCase):
    """Two replicas write at the same time."""

    def check_conflict(self, first: Record, second: Record) -> None:
        ours, theirs = self.connect(), self.connect()
        with self.engine.writing(theirs) as transaction:
            transaction.insert([first])
            thread, results = self.in_thread(lambda: self.write(ours, record("beside"), second))
            self.wait_for_lock()
        thread.join(5)
        (error,) = results
        assert isinstance(error, Conflict)
        self.assertEqual(self.engine.judge(error), Verdict.REPEAT)
        with self.engine.reading(ours) as transaction:
            self.assertEqual(transaction.records(["beside"]), [])

    def test_same_id(self) -> None:
        """An id that another transaction has just inserted: ours is repeated."""
        self.check_conflict(record("1"), record("1"))

    def test_same_key(self) -> None:
        """A key that another transaction has just inserted: ours is repeated."""
        self.check_conflict(record("1", key=b"key"), record("2", key=b"key"))

    def test_keys_in_order(self) -> None:
        """Transactions that insert the same keys in different orders do not wait for each other: no deadlock."""
        ours, theirs = self.connect(), self.connect()
        one, two = record("1", key=b"a"), record("2", key=b"b")
        with self.engine.writing(theirs) as transaction:
            transaction.insert([one])
            thread, results = self.in_thread(lambda: self.write(ours, two, replace(one, id="3")))
            self.wait_for_lock()
            transaction.insert([replace(two, id="4")])
        thread.join(5)
        self.assertIsInstance(results[0], Conflict)

    def test_deadlock(self) -> None:
        """A deadlock ends one of the transactions, which is repeated."""
        ours, theirs = self.connect(), self.connect()
        self.write(ours, record("1"), record("2"))

        def other() -> None:
            with self.engine.writing(ours) as transaction:
                transaction.records(["2"])
                has_locked.set()
                transaction.records(["1"])

        has_locked = threading.Event()
        errors: list[object] = []
        with self.engine.writing(theirs) as transaction:
            transaction.records(["1"])
            thread, results = self.in_thread(other)
            has_locked.wait(5)
            try:
                transaction.records(["2"])
            except psycopg.Error as error:
                errors.append(error)
                transaction.execute("ROLLBACK")
                transaction.execute("BEGIN")
        thread.join(5)
        (error,) = [each for each in (*errors, *results) if each is not None]
        assert isinstance(error, psycopg.errors.DeadlockDetected)
        self.assertEqual(self.engine.judge(error), Verdict.REPEAT)


class SchemaTests(EngineTestCase):
    """Migration."""

    def version(self) -> str:
        return self.server.sql("SELECT string_agg(version::text, ',') FROM schema_version", database=self.database)

    def test_several_at_once(self) -> None:
        """Processes that start at once make the schema once."""
        connections = [self.connect(migrate=False) for _ in range(5)]
        threads = [self.in_thread(partial(self.engine.migrate, each)) for each in connections]
        for thread, results in threads:
            thread.join(10)
            self.assertEqual(results, [None])
        self.assertEqual(self.version(), ",".join(str(each + 1) for each in range(VERSION)))

    def test_newer(self) -> None:
        """A schema that a newer program has made ends the start; nothing is changed."""
        connection = self.connect()
        self.server.sql(f"INSERT INTO schema_version VALUES ({VERSION + 1})", database=self.database)
        line = str(self.assertRaises(SettingsError, self.engine.migrate, connection))
        self.assertIn(f"version {VERSION + 1}", line)

    def test_foreign_tables(self) -> None:
        """Tables of another program under our names end the start."""
        for table in ("schema_version (number integer)", "requests (id integer)"):
            database = self.server.new_database()
            self.server.sql(f"CREATE TABLE {table}", f"GRANT ALL ON {table.split()[0]} TO gateway", database=database)
            engine = PostgreSQL(parse_store_url(self.server.url(database)))
            line = str(self.assertRaises(SettingsError, self.connect, engine))
            self.assertIn("another program uses this database", line)
            self.assertNotIn("\n", line)

    def test_without_rights(self) -> None:
        """A role that may not create tables is told so; tables that are there are enough."""
        self.server.sql(f'GRANT CONNECT ON DATABASE {self.database} TO "{CERTIFIED}"')
        certs = certificates()
        engine = PostgreSQL(
            parse_store_url(
                self.server.url(
                    self.database,
                    sslcert=str(certs / "client_cert_mq.pem"),
                    sslkey=str(certs / "client_key_mq.pem"),
                ).replace(f"{self.server.url('x').partition('@')[0]}@", f"postgresql://{CERTIFIED}@")
            )
        )
        connection = self.connect(engine, migrate=False)
        (said,) = engine.problems(connection)
        self.assertIn("GRANT CREATE ON SCHEMA public", said)
        error = self.assertRaises(psycopg.errors.InsufficientPrivilege, engine.migrate, connection)
        self.assertEqual(engine.judge(error), Verdict.AWAY)
        self.assertIn("grant the role CREATE", engine.explain(error))
        self.connect()
        rights = f'GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public TO "{CERTIFIED}"'
        self.server.sql(rights, database=self.database)
        engine.migrate(connection)
        self.assertEqual(engine.problems(connection), [])
        with engine.writing(connection) as transaction:
            transaction.insert([record("1")])


class ErrorTests(EngineTestCase):
    """What errors mean, and what is said of them."""

    def failure(self, address: str) -> tuple[Verdict, str]:
        engine = PostgreSQL(parse_store_url(address))
        error = self.assertRaises(psycopg.Error, psycopg.connect, **engine.arguments)
        line = engine.explain(error)
        self.assertNotIn("\n", line)
        return engine.judge(error), line

    def test_connecting(self) -> None:
        """A server that cannot be used is away, and one line says why, without the password."""
        good = self.server.url(self.database)
        for address, part in (
            (good.replace("gateway:pg", "gateway:wrong"), "check user and password"),
            (good.replace(f":{self.server.port}/", ":1/"), "Connection refused"),
            (good.replace("cacert.pem", "none.pem"), "sslrootcert=FILE"),
            (good.replace("cacert.pem", "client_cert.pem"), "certificate verify failed: sslrootcert=FILE"),
            (url("nothing", self.server.port), "create the database"),
            (
                f"postgresql://{CERTIFIED}@localhost:{self.server.port}/x?sslmode=require",
                "sslcert and sslkey in the URL",
            ),
            ("postgresql://u:secret@db.invalid/x", "failed to resolve host"),
        ):
            verdict, line = self.failure(address)
            self.assertEqual(verdict, Verdict.AWAY)
            self.assertIn(part, line)
            self.assertNotIn("secret", line)

    def test_name_in_certificate(self) -> None:
        """A server whose certificate has another name is refused."""
        verdict, line = self.failure(
            self.server.url(self.database).replace("@localhost", "@localhost.localdomain") + "&hostaddr=127.0.0.1"
        )
        self.assertEqual(verdict, Verdict.AWAY)
        self.assertIn("localhost.localdomain", line)

    def test_poison(self) -> None:
        """What one operation is to blame for is told from what the server is to blame for."""
        connection = self.connect()
        for poison in (record("x" * 1_000_000, owner="y" * 1_000_000), record("1", attempts=10**30)):
            with self.assertRaises(psycopg.Error) as caught:
                self.write(connection, poison)
            self.assertEqual(self.engine.judge(caught.exception), Verdict.DATA, str(caught.exception)[:99])
        self.assertEqual(self.engine.judge(ValueError()), Verdict.DATA)
        for lost in ("DROP TABLE results", "REVOKE ALL ON requests FROM gateway"):
            self.server.sql(lost, database=self.database)
        for use in (lambda each: each.result("1"), lambda each: each.records(["1"])):
            with self.engine.reading(connection) as transaction:
                error = self.assertRaises(psycopg.Error, use, transaction)
                self.assertEqual(self.engine.judge(error), Verdict.AWAY)

    def test_standby(self) -> None:
        """A server that has become read-only is away."""
        connection = self.connect()
        self.server.sql(f"ALTER DATABASE {self.database} SET default_transaction_read_only = on")
        verdict, line = self.failure(self.server.url(self.database))
        self.assertEqual(verdict, Verdict.AWAY)
        self.assertIn("name the primary, or all hosts", line)
        with self.assertRaises(psycopg.Error) as caught, self.engine.writing(connection) as transaction:
            transaction.execute("SET LOCAL transaction_read_only = on")
            transaction.insert([record("1")])
        self.assertEqual(self.engine.judge(caught.exception), Verdict.AWAY)

    def test_interrupt(self) -> None:
        """A thread that waits for a frozen server comes back when its connection is interrupted."""
        for address in (self.server.url(self.database), url(self.database, self.server.port, sslmode="disable")):
            engine = PostgreSQL(parse_store_url(address))
            connection = self.connect(engine)
            self.server.suspend()
            try:
                thread, results = self.in_thread(partial(self.write, connection, record("1")))
                thread.join(0.1)
                self.assertTrue(thread.is_alive())
                engine.interrupt(connection)
                thread.join(2)
                self.assertFalse(thread.is_alive())
            finally:
                self.server.resume()
            (error,) = results
            assert isinstance(error, psycopg.Error)
            self.assertEqual(engine.judge(error), Verdict.AWAY)
            engine.interrupt(connection)  # again: nothing happens
            connection.close()
            engine.interrupt(connection)

    def test_risky_server(self) -> None:
        """A server that may lose what it has committed is told in one line for each setting."""
        server = Server(certificates(), "fsync = off\nfull_page_writes = off\nsynchronous_commit = off")
        server.start()
        self.addCleanup(server.remove)
        _, found = try_store(parse_store_url(server.url(server.new_database())))
        self.assertEqual([line.split()[0] for line in found], ["fsync", "full_page_writes", "synchronous_commit"])


class TrialTests(EngineTestCase):
    """What ``--check --connect`` says of a server."""

    def tried(self, database: str | None = None, **parameters: str) -> tuple[str, list[str]]:
        found, wrong = try_store(parse_store_url(self.server.url(database or self.database, **parameters)))
        return str(found), wrong

    def test_found(self) -> None:
        """Version, TLS and schema are told, before and after the tables are made; the trial makes none."""
        for _ in range(2):
            found, wrong = self.tried()
            self.assertEqual(wrong, [])
            self.assertRegex(found, r"^PostgreSQL [0-9]+\.[0-9]+, with TLS; the start will make its tables$")
        found, _ = self.tried(sslmode="disable")
        self.assertIn("without TLS", found)
        found, wrong = try_store(parse_store_url(shared_pooler().url(self.database)))
        self.assertEqual(wrong, [])
        self.connect()
        found, wrong = self.tried()
        self.assertEqual((wrong, found.rpartition("; ")[2]), ([], f"schema version {VERSION}"))

    def test_wrong(self) -> None:
        """A wrong password, a missing database, a newer schema and another program's tables are one line each."""
        address = self.server.url(self.database)
        password = address.partition("@")[0].rpartition(":")[2]
        for url_, words in (
            (address.replace(f":{password}@", ":hunter2@"), "check user and password"),
            (self.server.url("nothing"), "create the database"),
        ):
            found, [line] = try_store(parse_store_url(url_))
            self.assertIsNone(found)
            self.assertIn(words, line)
            self.assertNotIn("hunter2", line)
            self.assertNotIn("\n", line)
        self.connect()
        self.server.sql(f"INSERT INTO schema_version VALUES ({VERSION + 1})", database=self.database)
        self.assertIn(f"version {VERSION + 1}", self.tried()[1][0])
        other = self.server.new_database()
        self.server.sql("CREATE TABLE requests (id integer)", database=other)
        self.assertIn("another program uses this database", self.tried(other)[1][0])

    def test_missing_rights(self) -> None:
        """Each right on our tables that the role lacks is a line; so is a table that is gone."""
        self.connect()
        for statement in ("REVOKE INSERT, DELETE ON results FROM gateway", "DROP TABLE requests"):
            self.server.sql(statement, database=self.database)
        _, wrong = self.tried()
        self.assertEqual(
            [line.split(":")[0] for line in wrong],
            [
                *(f"the role may not {each} table requests" for each in ("SELECT", "INSERT", "UPDATE", "DELETE")),
                *(f"the role may not {each} table results" for each in ("INSERT", "DELETE")),
            ],
        )
