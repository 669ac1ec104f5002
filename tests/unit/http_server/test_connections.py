"""Limits of connections, in all and per identity, and clients that are no longer trusted."""

from __future__ import annotations

from tests.support.http_client import Client
from tests.unit.http_server.base import LimitsTestCase, TLSClient, certificate

POST = b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\n\r\n1"


class TotalTests(LimitsTestCase):
    """Three connections in all."""

    def aborted(self, *clients: Client) -> list[bool]:
        return [each.aborted for each in clients]

    def test_full(self) -> None:
        """If all connections have completed their handshakes, a new connection is dropped, and no other."""
        known = [self.handshaken("a"), self.handshaken("b"), Client(self.site)]
        late = [TLSClient(self.site), Client(self.site)]
        self.assertEqual([False] * 3 + [True] * 2, self.aborted(*known, *late))
        self.assertEqual(["limit"] * 2, self.dropped)
        for client in late:
            client.leave()
        self.assertEqual((["limit"] * 2, 3), (self.dropped, len(self.site.channels)))
        known[0].send(POST)
        self.assertEqual([200], self.statuses(known[0]))

    def test_room_again(self) -> None:
        """A connection that ends makes room for another one."""
        first, *_ = self.clients(3)
        first.leave()
        second, third = self.clients(2)
        self.assertEqual(([False, True], ["limit"]), (self.aborted(second, third), self.dropped))

    def test_oldest_in_its_handshake_goes(self) -> None:
        """A new connection replaces the oldest one that has not completed its handshake."""
        clients = [TLSClient(self.site, name) for name in "abc"]
        clients[0].shake_hands()
        clients += [TLSClient(self.site) for _ in range(2)]
        self.assertEqual([False, True, True, False, False], self.aborted(*clients))
        self.assertEqual(["limit"] * 2, self.dropped)
        for client in clients[1:3]:
            client.leave()
        self.assertEqual((["limit"] * 2, 3), (self.dropped, len(self.site.channels)), "counted once")

    def test_dropped_one_is_no_room(self) -> None:
        """A connection that was dropped, and is not gone yet, makes room for one other connection only."""
        TLSClient(self.site)
        self.handshaken("a")
        self.handshaken("b")
        second, third = TLSClient(self.site), TLSClient(self.site)
        self.assertEqual([True, False], self.aborted(second, third))
        self.assertEqual(["limit"] * 2, self.dropped)

    def test_one_that_has_left_its_handshake_stays(self) -> None:
        """A connection whose handshake has failed, or is complete, is not replaced."""
        failed, done = TLSClient(self.site), TLSClient(self.site)
        failed.leave()
        done.shake_hands()
        self.clients(2)
        self.dropped.clear()
        late = TLSClient(self.site)
        self.assertEqual(([False, True], ["limit"]), (self.aborted(done, late), self.dropped))

    def test_no_time_for_those_without_room(self) -> None:
        """A connection that was dropped for lack of room is not dropped again for a slow handshake."""
        self.clients(3)
        late = TLSClient(self.site)
        late.leave()
        self.pass_seconds(5)
        self.assertEqual(["limit"], self.dropped)


class IdentityTests(LimitsTestCase):
    """Two connections of one identity."""

    def test_limit(self) -> None:
        """The third connection of an identity is dropped after its handshake; that of another identity is not."""
        first, second, third = (self.handshaken() for _ in range(3))
        self.assertEqual([False, False, True], [each.aborted for each in (first, second, third)])
        third.leave()
        self.assertEqual((False, ["identity-limit"]), (self.handshaken("b").aborted, self.dropped))

    def test_room_again(self) -> None:
        """A connection that ends makes room for one of its identity; one that was dropped does not."""
        first, _, third = (self.handshaken() for _ in range(3))
        third.leave()
        third = self.handshaken()
        third.leave()
        first.leave()
        self.assertEqual([True, False], [third.aborted, self.handshaken().aborted])
        self.assertTrue(self.handshaken().aborted)

    def test_nothing_is_kept_of_those_who_left(self) -> None:
        """An identity without connections is forgotten."""
        for name in "abc":
            self.handshaken(name).leave()
        self.assertEqual({}, dict(self.site._of_identity))

    def test_plain(self) -> None:
        """Without TLS there are no identities, and no limit for one."""
        for client in self.clients(3):
            client.send(POST)
            self.assertEqual([200], self.statuses(client))
        self.assertEqual([(200, None)] * 3, self.finished)


class TrustTests(LimitsTestCase):
    """Clients whose certificates are no longer trusted."""

    def test_identity(self) -> None:
        """A request has the identity of its connection's certificate."""
        self.handshaken("x").send(POST)
        self.assertEqual([(200, "x")], self.finished)

    def test_asked_at_each_request(self) -> None:
        """Trust is checked when the handshake of a TLS connection is complete, and at each of its requests."""
        client = self.handshaken()
        self.assertEqual([client], self.asked)
        client.send(POST + POST)
        self.assertEqual(3 * [client], self.asked)
        self.is_trusted = False
        (plain,) = self.clients(1)
        plain.send(POST)
        self.assertEqual(([200], 3), (self.statuses(plain), len(self.asked)))

    def assert_forbidden(self, client: Client) -> None:
        self.bodies.clear()
        client.clear()
        client.send(POST + POST)
        response = client.response()
        self.assertEqual((403, "close"), (response.status, response.headers["connection"]))
        self.assertEqual(response.headers["rquid"], response.problem["rquid"])
        self.assertEqual((True, []), (client.disconnecting, self.bodies))
        self.assertEqual((403, "a"), self.finished[-1])

    def test_trusted_no_more(self) -> None:
        """The next request of a client that is no longer trusted is answered with 403, and is the last one."""
        client = self.handshaken()
        client.send(POST)
        self.is_trusted = False
        self.assert_forbidden(client)

    def test_expired(self) -> None:
        """A client is served until its certificate expires, to the second."""
        end = certificate("a").to_cryptography().not_valid_after_utc.timestamp()
        for before in (1, 0):
            self.clock.rightNow = end - 1000
            client = self.handshaken()
            self.clock.rightNow = end - before
            if before:
                client.send(POST)
                self.assertEqual([200], self.statuses(client))
            else:
                self.assert_forbidden(client)
            client.leave()


class ClosingTests(LimitsTestCase):
    """Connections when the site closes them."""

    def test_request_under_way(self) -> None:
        """A request that has begun to arrive is served with "Connection: close", and its connection is closed."""
        for begin in (POST[:30], POST[:-1]):
            (client,) = self.clients(1)
            client.send(begin)
            closed = self.site.close_connections()
            self.assertFalse(client.disconnecting)
            client.send(POST[len(begin) :] + POST)
            self.assertEqual(("close", True), (client.response().headers["connection"], client.disconnecting))
            self.assertNoResult(closed)
            client.leave()
            self.successResultOf(closed)


class ChannelTests(LimitsTestCase):
    """Channels of a site."""

    def test_http_1_1_only(self) -> None:
        """TLS offers HTTP/1.1 only."""
        self.assertEqual([b"http/1.1"], self.site.acceptableProtocols())
