"""More connections than the limits allow: connections in use stay; those without a certificate are dropped first."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

from tests.security.base import SecurityTestCase
from tests.security.certificates import caller, trusted_authority
from tests.security.client import NoResponseError, get, post
from tests.security.model import echo

if TYPE_CHECKING:
    import ssl

    from tests.security.base import Deployment
    from tests.security.client import Connection
    from tests.security.model import Asked

MOST, MOST_OF_ONE = 6, 4
IDLE_LIMIT, BODY_LIMIT = 1.0, 5.0


class ConnectionsTestCase(SecurityTestCase):
    """Limits of six connections, and of four for one identity."""

    @classmethod
    def variables(cls, deployment: Deployment) -> dict[str, str]:
        """Small limits of connections."""
        return {
            "HTTP_MAX_CONNECTIONS": str(MOST),
            "HTTP_MAX_CONNECTIONS_PER_IDENTITY": str(MOST_OF_ONE),
            "HTTP_IDLE_TIMEOUT": str(IDLE_LIMIT * 20),
        }

    def setUp(self) -> None:
        super().setUp()
        self.other = self.tls_of(trusted_authority().issue("other"))
        self.until_open(0)

    def until_open(self, count: int) -> None:
        """Wait until the gateway has this many open connections; it notices our close only when it reads."""
        self.until_metric("provider_gateway_http_connections", count)

    def dropped(self, reason: str) -> float:
        """The number of connections dropped for this reason."""
        return self.metric(f'provider_gateway_http_dropped_connections_total{{reason="{reason}"}}')

    def full(self) -> list[Connection]:
        """Open as many idle connections as are allowed, of two identities."""
        tls = [self.tls_of(caller())] * MOST_OF_ONE + [self.other] * (MOST - MOST_OF_ONE)
        connections = [self.connect(each) for each in tls]
        for each in connections:
            self.assertEqual(each.ask(get(b"/health")).status, 200)
        return connections

    def assert_no_room(self, tls: ssl.SSLContext | None = None) -> None:
        """Check that a new connection ends in its handshake or right after it."""
        with self.assertRaises((OSError, NoResponseError)), self.connect(tls) as connection:
            connection.ask(get(b"/health"))


class TotalTests(ConnectionsTestCase):
    """HTTP_MAX_CONNECTIONS."""

    def test_full(self) -> None:
        """A connection over the limit is dropped and counted; the open ones are served."""
        connections, dropped = self.full(), self.dropped("limit")
        for _ in range(3):
            self.assert_no_room(self.other)
        self.assertEqual(self.dropped("limit"), dropped + 3)
        for each in connections:
            self.assertEqual(each.ask(post(b"1")).status, 200)

    def test_request_in_work(self) -> None:
        """A request in progress is answered while all places are taken and new connections are dropped."""
        go_on = threading.Event()

        def answer(asked: Asked) -> bytes:
            go_on.wait(10)
            return echo(asked)

        self.model.answer = answer
        first, *_ = self.full()
        first.send(post(b'"in work"'))
        self.model.wait_for(1)
        for _ in range(10):
            self.assert_no_room()
        go_on.set()
        self.assertEqual(first.response().body, b'"in work"')

    def test_admin(self) -> None:
        """Health and metrics work when all places are taken: the admin listener counts its own connections."""
        self.full()
        self.assertEqual(self.admin("/health/ready")[0], 200)
        self.assertEqual(self.metric("provider_gateway_http_connections"), MOST)

    def test_oldest_handshake_yields(self) -> None:
        """With all places taken, the oldest connection without a certificate is dropped in favour of a new one."""
        served = [self.connect() for _ in range(MOST - 3)]
        oldest, middle, newest = (self.connect_plainly() for _ in range(3))
        self.until_open(MOST)
        dropped = self.dropped("limit")
        with self.connect(self.other) as connection:
            self.assertEqual(connection.ask(post(b"1")).status, 200)
            self.assertTrue(oldest.is_ended_within(10))
            self.assertFalse(middle.is_heard_within(0.1) or newest.is_heard_within(0.1))
        self.assertEqual(self.dropped("limit"), dropped + 1)
        for each in served:
            self.assertEqual(each.ask(post(b"2")).status, 200)

    def test_flood_of_silent_connections(self) -> None:
        """However many silent connections are opened, a client with a certificate is accepted, and stays connected."""
        with self.connect() as early:
            for _ in range(5):
                silent = [self.connect_plainly() for _ in range(20)]
                self.assertEqual(early.ask(post(b"1")).status, 200)
                self.assertEqual(self.ask(post(b"2")).status, 200)
                for each in silent:
                    each.close()

    def test_room_again(self) -> None:
        """A place is free again when its client closes, fails its handshake, or leaves within a request."""
        for _ in range(3):
            for each in self.full():
                each.close()
            self.until_open(0)
        refused = self.tls_of(None)
        for _ in range(MOST + 1):
            self.assert_no_room(refused)
        for _ in range(MOST + 1):
            with self.connect() as leaving:
                leaving.send(post(b"1")[:30])
        self.until_open(0)
        self.full()


class IdentityTests(ConnectionsTestCase):
    """HTTP_MAX_CONNECTIONS_PER_IDENTITY."""

    def test_one_identity(self) -> None:
        """Connections over an identity's limit are dropped and counted; those of other identities are not."""
        connections = [self.connect() for _ in range(MOST_OF_ONE)]
        dropped = self.dropped("identity-limit")
        self.assert_no_room()
        self.assertEqual(self.dropped("identity-limit"), dropped + 1)
        with self.connect(self.other) as connection:
            self.assertEqual(connection.ask(post(b"1")).status, 200)
        for each in connections:
            self.assertEqual(each.ask(post(b"2")).status, 200)

    def test_another_certificate(self) -> None:
        """The limit is the identity's, whatever number of certificates it has."""
        for _ in range(MOST_OF_ONE):
            self.connect(self.tls_of(trusted_authority().issue("caller")))
        self.assert_no_room(self.tls_of(trusted_authority().issue("caller")))

    def test_room_again(self) -> None:
        """When one connection closes, another one of the same identity is accepted."""
        connections = [self.connect() for _ in range(MOST_OF_ONE)]
        connections.pop().close()
        self.until_open(MOST_OF_ONE - 1)
        connections.append(self.connect())
        self.assertEqual(connections[-1].ask(post(b"1")).status, 200)
        self.assert_no_room()


class IdleTests(SecurityTestCase):
    """HTTP_IDLE_TIMEOUT, where it is shorter than the other times."""

    @classmethod
    def variables(cls, deployment: Deployment) -> dict[str, str]:
        """A short idle timeout, a longer body timeout."""
        return {"HTTP_IDLE_TIMEOUT": str(IDLE_LIMIT), "HTTP_BODY_TIMEOUT": str(BODY_LIMIT)}

    def test_within_a_request(self) -> None:
        """The idle timeout does not apply within a request: a body that pauses for longer has the body timeout."""
        connection = self.connect()
        connection.send(post(b"[", length=2))
        self.assertFalse(connection.is_heard_within(1.5 * IDLE_LIMIT))
        self.assertEqual(connection.ask(b"]").status, 200)
