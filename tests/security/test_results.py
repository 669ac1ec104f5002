"""Answers that are kept: who may see, list and erase them, with two workers and certificates of several identities."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import yaml
from cryptography import x509

from tests.security.base import SecurityTestCase
from tests.security.certificates import trusted_authority
from tests.security.client import post
from tests.security.model import says
from tests.security.reloading import ACCESS, replace

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from tests.security.base import Deployment
    from tests.security.client import Connection, Response
    from tests.support.certificates import Holder

RULES = [
    {"identities": ["alice", "bob", "mallory"], "routingKeys": ["predict.*", "other.#"]},
    {"identities": ["meter"], "routingKeys": ["predict.*"], "rate": 0.01, "burst": 1},
]
UNKNOWN = "0" * 32
ASYNC = b"Prefer: respond-async"


def ask_for(target: str, method: str = "GET", *headers: bytes) -> bytes:
    """The bytes of a request without a body."""
    return b"\r\n".join([f"{method} {target} HTTP/1.1".encode(), b"Host: localhost", *headers, b"", b""])


class ResultsTestCase(SecurityTestCase):
    """Two workers that share a store."""

    @classmethod
    def variables(cls, deployment: Deployment) -> dict[str, str]:
        """The store, and the access file."""
        path = deployment.folder / "access.yaml"
        path.write_text(yaml.safe_dump(RULES), encoding="utf-8")
        url = f"sqlite://{(deployment.folder / 'results.db').resolve()}"
        return {"HTTP_ACCESS": str(path), "RESULT_STORE": url, "WORKERS": "2"}

    def setUp(self) -> None:
        super().setUp()
        self.alice, self.bob = (trusted_authority().issue(name) for name in ("alice", "bob"))

    def on_both(self, holder: Holder) -> Sequence[Connection]:
        """Connections that are open together: the worker with the fewest takes the next one, so each has one."""
        tls = self.tls_of(holder)
        return [self.connect(tls) for _ in range(3)]

    def accepted(self, holder: Holder, body: bytes = b"[1]", *headers: bytes) -> str:
        """Submit a request, and wait until it is answered; returns its location."""
        response = self.ask(post(body, ASYNC, *headers), holder)
        self.assertEqual(response.status, 202, response)
        location = response.headers["location"]
        self.assertEqual(self.ask(ask_for(f"{location}/result", "GET", b"Prefer: wait=20"), holder).status, 200)
        return location

    def listed(self, holder: Holder) -> list[str]:
        """The locations in the list of a caller."""
        response = self.ask(ask_for("/v1/requests?limit=100"), holder)
        return [each["links"]["self"] for each in json.loads(response.body)["requests"]]

    def said(self, response: Response, id_: str) -> tuple[int, set[str], bytes]:
        """What a response tells apart from the id that was asked for."""
        body = response.body.replace(response.headers["rquid"].encode(), b"").replace(id_.encode(), b"")
        return response.status, set(response.headers), body


class OwnershipTests(ResultsTestCase):
    """A request belongs to the identity that sent it."""

    def strangers(self) -> Iterable[Holder]:
        yield self.bob
        yield trusted_authority().issue("Alice")
        yield trusted_authority().issue(None)
        # The first name counts: a certificate of another identity may have this one among its other names.
        yield trusted_authority().issue("mallory", names=(x509.DNSName("alice"),))

    def test_others(self) -> None:
        """At both workers, another identity finds what it finds of an id that never was, and erases nothing."""
        location = self.accepted(self.alice, b'"of alice"')
        for stranger in self.strangers():
            for connection in self.on_both(stranger):
                for target, method in (("", "GET"), ("/result", "GET"), ("", "DELETE")):
                    found = [
                        self.said(connection.ask(ask_for(f"/v1/requests/{id_}{target}", method)), id_)
                        for id_ in (location[-32:], UNKNOWN)
                    ]
                    self.assertEqual((found[0][0], found[0]), (404, found[1]))
        for connection in self.on_both(trusted_authority().issue("alice")):  # a new certificate, the same name
            self.assertEqual(connection.ask(ask_for(f"{location}/result")).body, b'"of alice"')

    def test_long_poll_of_others(self) -> None:
        """Nobody waits for another identity's request: the answer comes at once, and is 404."""
        self.model.answer = says(429)  # it is pending while it is tried again
        response = self.ask(post(b"[1]", ASYNC), self.alice)
        for connection in self.on_both(self.bob):
            got = connection.ask(ask_for(f"{response.headers['location']}/result", "GET", b"Prefer: wait=20"))
            self.assert_problem(got, 404, "not-found")
        for method, status in (("DELETE", 204), ("DELETE", 204), ("GET", 404)):
            self.assertEqual(self.ask(ask_for(response.headers["location"], method), self.alice).status, status)

    def test_lists(self) -> None:
        """Each identity has a list of its own; a place in another one's list is none in its own."""
        of_alice, of_bob = self.accepted(self.alice), self.accepted(self.bob)
        for holder, own, other in ((self.alice, of_alice, of_bob), (self.bob, of_bob, of_alice)):
            listed = self.listed(holder)
            self.assertEqual((own in listed, other in listed), (True, False))
            response = self.ask(ask_for(f"/v1/requests?after={other[-32:]}"), holder)
            self.assert_problem(response, 400, "bad-request")
        response = self.ask(ask_for("/v1/requests"), trusted_authority().issue(None))
        self.assert_problem(response, 403, "forbidden")

    def test_headers_of_ours(self) -> None:
        """No header of a request makes it another identity's, or has its answer stored elsewhere."""
        location = self.accepted(self.alice, b"[1]", b"pg-owner: bob", b"pg-results: elsewhere", b"reply_to: elsewhere")
        self.assertNotIn(location, self.listed(self.bob))
        self.assertIn(location, self.listed(self.alice))
        self.assertFalse({name for name in self.model.asked[-1].headers if name.startswith(("pg-", "prefer"))})

    def test_keys(self) -> None:
        """The same Idempotency-Key of two identities names two requests; at both workers each gets its own answer."""
        key = b'Idempotency-Key: "shared"'
        for holder, body in ((self.alice, b'"of alice"'), (self.bob, b'"of bob"')):
            self.assertEqual(self.ask(post(body, key), holder).body, body)
        asked = len(self.model.asked)
        for holder, body in ((self.alice, b'"of alice"'), (self.bob, b'"of bob"')):
            for connection in self.on_both(holder):
                response = connection.ask(post(body, key))
                self.assertEqual((response.body, response.headers["idempotent-replayed"]), (body, "true"))
            self.assert_problem(connection.ask(post(b'"else"', key)), 422, "idempotency-key-reused")
        self.assertEqual(len(self.model.asked), asked)


class AccessTests(ResultsTestCase):
    """What the access file says of answers that are kept."""

    def test_rate(self) -> None:
        """Fetching, listing and erasing do not count for the rate; a request that is recorded does."""
        with self.connect(self.tls_of(trusted_authority().issue("meter"))) as connection:
            location = connection.ask(post(b"[1]", ASYNC)).headers["location"]
            self.assert_problem(connection.ask(post(b"[1]", ASYNC)), 429, "rate-limited")
            for target in (location, f"{location}/result", "/v1/requests") * 2:
                self.assertIn(connection.ask(ask_for(target)).status, (200, 202))
            self.assertEqual(connection.ask(ask_for(location, "DELETE")).status, 204)

    def test_withdrawn(self) -> None:
        """While the access file does not allow the routing key, nothing is fetched, listed or erased."""
        kept = self.accepted(self.alice)
        location = self.accepted(self.alice, b'"secret"', b"routing-key: other.now")
        try:
            self.load([{"identities": ["alice"], "routingKeys": ["predict.*"]}])
            for connection in self.on_both(self.alice):
                for target, method in ((location, "GET"), (f"{location}/result", "GET"), (location, "DELETE")):
                    self.assert_problem(connection.ask(ask_for(target, method)), 403, "forbidden")
                self.assertEqual(connection.ask(ask_for(f"{kept}/result")).status, 200)
            listed = self.listed(self.alice)
            self.assertEqual((kept in listed, location in listed), (True, False))
        finally:
            self.load(RULES)
        self.assertEqual(self.ask(ask_for(f"{location}/result"), self.alice).body, b'"secret"')

    def load(self, rules: object) -> None:
        """Replace the access file, and wait until both workers have read it."""
        begin = len(self.gateway.log)
        replace(self.deployment.folder / "access.yaml", yaml.safe_dump(rules).encode())
        self.gateway.hang_up()
        text = f"{ACCESS}: loaded again"
        self.gateway.until(
            "reload by both workers",
            lambda: {line["worker"] for line in self.gateway.log[begin:] if text in line["message"]} == {0, 1},
        )
