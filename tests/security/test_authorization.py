"""What the access file allows each identity: which routing keys, and how often."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

import yaml
from cryptography import x509

from tests.security.base import SecurityTestCase
from tests.security.certificates import trusted_authority
from tests.security.client import get, post

if TYPE_CHECKING:
    from tests.security.base import Deployment
    from tests.support.certificates import Holder

URI = "spiffe://example.org/worker"
RULES = [
    {"identities": ["writer"], "routingKeys": ["predict.*"]},
    {"identities": ["*.example.org", URI], "routingKeys": ["other.#"]},
    {"identities": ["*.metered.example"], "routingKeys": ["predict.*"], "rate": 1, "burst": 2},
    {"identities": ["*.metered.example"], "routingKeys": ["other.#"]},
]


class AccessTestCase(SecurityTestCase):
    """The rules above."""

    @classmethod
    def variables(cls, deployment: Deployment) -> dict[str, str]:
        """The access file."""
        path = deployment.folder / "access.yaml"
        path.write_text(yaml.safe_dump(RULES), encoding="utf-8")
        return {"HTTP_ACCESS": str(path)}

    def status(self, holder: Holder, key: bytes = b"predict.now", target: bytes = b"/v1/predict") -> int:
        """The status of a request with a routing key and a certificate."""
        return self.ask(post(b"1", b"routing-key: " + key, target=target), holder).status

    def assert_forbidden(self, holder: Holder, key: bytes = b"predict.now") -> None:
        """Check that a routing key is forbidden for a certificate, on both routes, and that nothing is published."""
        for target in (b"/v1/predict", b"/v1/publish"):
            response = self.ask(post(b'"forbidden"', b"routing-key: " + key, target=target), holder)
            problem = self.assert_problem(response, 403, "forbidden")
            self.assertIn(key.decode(), problem["detail"])
        self.assertEqual(self.ask(post(b'"allowed"'), trusted_authority().issue("writer")).status, 200)
        self.assertNotIn(b'"forbidden"', self.model.bodies)


class RoutingKeyTests(AccessTestCase):
    """Which identity may use which routing key."""

    def test_common_name(self) -> None:
        """The common name of a certificate is an identity: it may use the keys of its rule; others are 403."""
        writer = trusted_authority().issue("writer")
        self.assertEqual(self.status(writer), 200)
        self.assertEqual(self.status(writer, target=b"/v1/publish"), 202)
        self.assert_forbidden(writer, b"other.now")
        self.assert_forbidden(writer, b"predict.now.too")

    def test_not_named(self) -> None:
        """A trusted certificate whose identity is in no rule may use no key; nor may one without a name."""
        for holder in (
            trusted_authority().issue("nobody"),
            trusted_authority().issue("Writer"),
            trusted_authority().issue(None),
        ):
            self.assert_forbidden(holder)

    def test_host_name(self) -> None:
        """A pattern with an asterisk fits all names with that end, in the subject or the alternative names."""
        names = (x509.DNSName("worker.EXAMPLE.org"),)
        for holder in (trusted_authority().issue("any", names=names), trusted_authority().issue("a.b.example.org")):
            self.assertEqual(self.status(holder, b"other.now"), 200)
            self.assert_forbidden(holder)

    def test_names_that_look_alike(self) -> None:
        """A pattern does not fit its end alone, nor names that only begin or end with the same letters."""
        for name in ("example.org", "evilexample.org", "worker.example.org.evil.example", "*"):
            self.assert_forbidden(trusted_authority().issue(name), b"other.now")

    def test_uri(self) -> None:
        """Without a common name, the identity is the URI, compared exactly."""
        holder = trusted_authority().issue(None, names=(x509.UniformResourceIdentifier(URI),))
        self.assertEqual(self.status(holder, b"other.now"), 200)
        self.assert_forbidden(holder)
        longer = trusted_authority().issue(None, names=(x509.UniformResourceIdentifier(URI + "/x"),))
        self.assert_forbidden(longer, b"other.now")

    def test_names_of_other_kinds(self) -> None:
        """An e-mail address in a certificate is no identity, even if a rule has that name."""
        holder = trusted_authority().issue("nobody", names=(x509.RFC822Name("writer"),))
        self.assert_forbidden(holder)

    def test_identity_from_a_header(self) -> None:
        """No header changes the identity."""
        for header in (b'X-Forwarded-Client-Cert: Subject="CN=writer"', b"X-SSL-Client-CN: writer", b"From: writer"):
            response = self.ask(post(b"1", header), trusted_authority().issue("nobody"))
            self.assert_problem(response, 403, "forbidden")

    def test_before_the_body(self) -> None:
        """A forbidden key is 403 before the body is checked, be it JSON or not."""
        response = self.ask(post(b"{", b"Content-Type: text/plain"), trusted_authority().issue("nobody"))
        self.assert_problem(response, 403, "forbidden")

    def test_parked_messages(self) -> None:
        """Without a rule about parking queues, their paths are unknown ones, to every certificate and method."""
        for holder in (trusted_authority().issue("writer"), trusted_authority().issue("nobody")):
            for path in (b"/v1/parking", b"/v1/parking/jobs", b"/v1/parking/" + self.deployment.queue.encode()):
                for request, other in (
                    (get(path), get(b"/v1/unknown")),
                    (get(path, b"OPTIONS"), get(b"/v1/unknown", b"OPTIONS")),
                    (post(b"{}", target=path + b"/replay"), post(b"{}", target=b"/v1/unknown")),
                ):
                    found, unknown = self.ask(request, holder), self.ask(other, holder)
                    self.assert_problem(found, 404, "not-found")
                    self.assertEqual(found.problem["detail"], unknown.problem["detail"])
                    self.assertEqual(found.headers.keys(), unknown.headers.keys())

    def test_health(self) -> None:
        """Health needs a trusted certificate, and no rule."""
        self.assertEqual(self.ask(get(b"/health"), trusted_authority().issue("nobody")).status, 200)

    def test_logs(self) -> None:
        """The log line of a problem and the access log have the identity; no metric has it."""
        response = self.ask(post(b"1"), trusted_authority().issue("told by name"))
        rquid = response.headers["rquid"]
        self.assertIn("told by name", response.problem["detail"])
        line = self.gateway.until(
            f"line of {rquid}", lambda: next((each for each in self.gateway.log if each.get("rquid") == rquid), None)
        )
        self.assertEqual((line["identity"], line["status"]), ("told by name", 403))
        recorded = self.recorded(rquid=rquid)
        self.assertEqual((recorded["identity"], recorded["status"]), ("told by name", 403))
        self.assertNotIn("told by name", self.admin("/metrics")[1])


class RateTests(AccessTestCase):
    """Rates; the rule has 1 per second, and a burst of 2."""

    def test_over_the_rate(self) -> None:
        """Requests over the rate are 429 with Retry-After, and nothing is published."""
        holder = self.metered()
        self.assertEqual([self.status(holder), self.status(holder)], [200, 200])
        refused = [self.ask(post(b'"too many"'), holder) for _ in range(3)]
        for response in refused:
            self.assert_problem(response, 429, "rate-limited")
            self.assertEqual(response.headers["retry-after"], "1")
        self.assertEqual(self.status(trusted_authority().issue("writer")), 200)
        self.assertNotIn(b'"too many"', self.model.bodies)
        self.assertGreaterEqual(self.metric(self.series(429)), 3)

    def metered(self) -> Holder:
        """A certificate with a limited rate; a new identity in each test."""
        return trusted_authority().issue(f"{self.id().rpartition('.')[2]}.metered.example")

    @staticmethod
    def series(code: int) -> str:
        """The number of responses with this status."""
        return f'provider_gateway_http_requests_total{{code="{code}",method="POST",route="/v1/predict"}}'

    def test_after_the_time(self) -> None:
        """After the seconds that Retry-After names, the identity is served again."""
        holder = self.metered()
        statuses = [self.status(holder) for _ in range(3)]
        self.assertEqual(statuses, [200, 200, 429])
        threading.Event().wait(1)  # the gateway's clock is the real one
        self.assertEqual(self.status(holder), 200)

    def test_connections_and_certificates(self) -> None:
        """The rate is the identity's: more connections or certificates do not raise it."""
        statuses = [self.status(self.metered()) for _ in range(4)]
        self.assertIn(429, statuses)
        self.assertLessEqual(statuses.count(200), 3)

    def test_other_identities_and_keys(self) -> None:
        """Other identities, and other rules of the identity, keep their rates."""
        holder = self.metered()
        self.assertIn(429, [self.status(holder) for _ in range(4)])
        self.assertEqual(self.status(holder, b"other.now"), 200)
        self.assertEqual(self.status(trusted_authority().issue("writer")), 200)
