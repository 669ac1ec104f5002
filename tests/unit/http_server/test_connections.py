"""How many connections there may be, in all and of one identity, who makes room, and whose certificate still counts."""

from __future__ import annotations

from tests.support.http_client import Client
from tests.unit.http_server.base import LimitsTestCase, TLSClient, certificate

POST = b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\n\r\n1"


class TotalTests(LimitsTestCase):
    """Connections in all: three."""

    def aborted(self, *clients: Client) -> list[bool]:
        return [each.aborted for each in clients]

    def test_full(self) -> None:
        """With all places taken by clients that are known, the new one is dropped, and nobody else."""
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
        """A connection that ends makes room for one."""
        first, *_ = self.clients(3)
        first.leave()
        second, third = self.clients(2)
        self.assertEqual(([False, True], ["limit"]), (self.aborted(second, third), self.dropped))

    def test_oldest_in_its_handshake_goes(self) -> None:
        """The oldest connection that has not shown a certificate makes room for a new one; then the next oldest."""
        clients = [TLSClient(self.site, name) for name in "abc"]
        clients[0].shake_hands()
        clients += [TLSClient(self.site) for _ in range(2)]
        self.assertEqual([False, True, True, False, False], self.aborted(*clients))
        self.assertEqual(["limit"] * 2, self.dropped)
        for client in clients[1:3]:
            client.leave()
        self.assertEqual((["limit"] * 2, 3), (self.dropped, len(self.site.channels)), "counted once")

    def test_dropped_one_is_no_room(self) -> None:
        """A connection that was dropped makes room for one other, not for two while it is not gone."""
        TLSClient(self.site)
        self.handshaken("a")
        self.handshaken("b")
        second, third = TLSClient(self.site), TLSClient(self.site)
        self.assertEqual([True, False], self.aborted(second, third))
        self.assertEqual(["limit"] * 2, self.dropped)

    def test_one_that_has_left_its_handshake_stays(self) -> None:
        """A connection whose handshake failed, or is done, is nobody to make room any more."""
        failed, done = TLSClient(self.site), TLSClient(self.site)
        failed.leave()
        done.shake_hands()
        self.clients(2)
        self.dropped.clear()
        late = TLSClient(self.site)
        self.assertEqual(([False, True], ["limit"]), (self.aborted(done, late), self.dropped))

    def test_no_time_for_those_without_room(self) -> None:
        """A connection that was dropped for want of room is not dropped again for its slow handshake."""
        self.clients(3)
        late = TLSClient(self.site)
        late.leave()
        self.pass_seconds(5)
        self.assertEqual(["limit"], self.dropped)


class IdentityTests(LimitsTestCase):
    """Connections of one identity: two."""

    def test_limit(self) -> None:
        """The third connection of an identity is dropped after its handshake; another identity's is not."""
        first, second, third = (self.handshaken() for _ in range(3))
        self.assertEqual([False, False, True], [each.aborted for each in (first, second, third)])
        third.leave()
        self.assertEqual((False, ["identity-limit"]), (self.handshaken("b").aborted, self.dropped))

    def test_room_again(self) -> None:
        """A connection that ends makes room for one of its identity; one that was dropped makes none."""
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
        """Without TLS nobody has an identity, and no such limit."""
        for client in self.clients(3):
            client.send(POST)
            self.assertEqual([200], self.statuses(client))
        self.assertEqual([(200, None)] * 3, self.finished)


class TrustTests(LimitsTestCase):
    """Whether a client that was let in still would be."""

    def test_identity(self) -> None:
        """A request has the identity of its connection's certificate."""
        self.handshaken("x").send(POST)
        self.assertEqual([(200, "x")], self.finished)

    def test_asked_at_each_request(self) -> None:
        """Trust is asked about at each request, with the connection; a plain connection needs none."""
        client = self.handshaken()
        client.send(POST + POST)
        self.assertEqual([client, client], self.asked)
        self.is_trusted = False
        (plain,) = self.clients(1)
        plain.send(POST)
        self.assertEqual(([200], 2), (self.statuses(plain), len(self.asked)))

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
        """A client that is trusted no more gets 403, is disconnected, and nothing behind that request is served."""
        client = self.handshaken()
        client.send(POST)
        self.is_trusted = False
        self.assert_forbidden(client)

    def test_expired(self) -> None:
        """A client is served up to the last moment of its certificate, and not from that moment on."""
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
    """Connections when we stop."""

    def test_request_under_way(self) -> None:
        """A request that has begun is received and answered, with "Connection: close", and its connection closed."""
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
    """A site's connections."""

    def test_http_1_1_only(self) -> None:
        """HTTP/1.1 is all that is offered in a handshake."""
        self.assertEqual([b"http/1.1"], self.site.acceptableProtocols())
