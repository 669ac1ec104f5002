"""Parked messages over HTTP: who may see, replay and drop them, with two workers and hostile requests and messages."""

from __future__ import annotations

import json
import threading
import time
import uuid
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import pika
import yaml

from tests.security.base import SecurityTestCase, channel
from tests.security.certificates import trusted_authority
from tests.security.client import get, post

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tests.security.base import Deployment
    from tests.security.client import Connection, Response
    from tests.support.certificates import Holder

#: After the name of a queue that the test makes up.
ODD = "/%2F?#\u00e9 <script>alert(1)</script>"
SECRET = b'{"iban": "DE02-secret"}'
HOSTILE = "<script>alert(1)</script>\r\n\u202e"


class ParkingTestCase(SecurityTestCase):
    """Two workers; two queues, of which one has an odd name."""

    @classmethod
    def entries(cls, deployment: Deployment, entry: dict[str, Any]) -> list[dict[str, Any]]:
        """The usual entry, and one with an odd name."""
        return [entry, {"topic": entry["topic"], "queueName": entry["queueName"] + ODD, "bindingKey": "odd"}]

    @classmethod
    def variables(cls, deployment: Deployment) -> dict[str, str]:
        """The access file, and the audit log."""
        queue = deployment.queue
        rules = [
            {"identities": ["ann"], "parking": ["read", "replay", "drop"], "queues": ["*"]},
            {"identities": ["reader"], "parking": ["read"], "queues": [queue]},
            {"identities": ["replayer"], "parking": ["replay"], "queues": [queue]},
            {"identities": ["dropper"], "parking": ["drop"], "queues": [queue + ODD]},
            {"identities": ["*"], "routingKeys": ["predict.*"]},
        ]
        path = deployment.folder / "access.yaml"
        path.write_text(yaml.safe_dump(rules), encoding="utf-8")
        audit_log = str(deployment.folder / "audit.log")
        return {"HTTP_ACCESS": str(path), "AUDIT_LOG": audit_log, "WORKERS": "2", "CORS_ORIGINS": "*"}

    def setUp(self) -> None:
        super().setUp()
        self.queue = self.deployment.queue
        self.path = f"/v1/parking/{self.queue}"
        self.odd_path = f"/v1/parking/{quote(self.queue + ODD, safe='')}"
        self.addCleanup(self.empty)
        self.audited = len(self.audit_lines())

    def empty(self) -> None:
        """Remove what is parked, and the notes of who was there."""
        with channel() as opened:
            for name in (self.queue, self.queue + ODD):
                opened.queue_purge(f"{name}.parking")
                opened.queue_delete(f"{name}.parking.operator")

    def audit_lines(self) -> list[dict[str, Any]]:
        """The audit log."""
        path = self.deployment.folder / "audit.log"
        return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]

    def park(self, *bodies: bytes, odd: bool = False, reason: str = "status") -> None:
        """Park messages, as the provider does."""
        queue = self.queue + ODD if odd else self.queue
        with channel() as opened:
            for body in bodies:
                headers = {"pg-reason": reason, "pg-parked-at": 1_800_000_000_000, "pg-model-error": "secret error"}
                headers |= {"RqUID": uuid.uuid4().hex, "X-Key": "secret header", "pg-routing-key": "predict.now"}
                properties = pika.BasicProperties(content_type="application/json", headers=headers, delivery_mode=2)
                opened.basic_publish("", f"{queue}.parking", body, properties, mandatory=True)

    def parked(self, *, odd: bool = False) -> int:
        """The number of parked messages."""
        with channel() as opened:
            name = f"{self.queue}{ODD if odd else ''}.parking"
            count: int = opened.queue_declare(name, passive=True).method.message_count
            return count

    def as_(self, name: str) -> Holder:
        """The certificate of somebody."""
        return trusted_authority().issue(name)

    def look(self, who: str, path: str) -> Response:
        """GET; again while somebody else is at the queue, such as the look before."""
        for _ in range(100):
            response = self.ask(get(path.encode()), self.as_(who))
            if response.status != 409:
                break
        return response

    def order(self, who: str, path: str, document: Any) -> Response:
        """POST a document; again while somebody else is at the queue, such as the look before."""
        for _ in range(100):
            response = self.ask(post(json.dumps(document).encode(), target=path.encode()), self.as_(who))
            if response.status != 409:
                break
        return response

    def until_over(self, who: str, response: Response) -> dict[str, Any]:
        """Follow a job to its end."""
        self.assertEqual(response.status, 202, response)
        found: dict[str, Any] = {"state": "counting"}
        for _ in range(300):
            if found["state"] not in ("counting", "running"):
                break
            threading.Event().wait(0.05)
            found = json.loads(self.ask(get(response.headers["location"].encode()), self.as_(who)).body)
        return found

    def on_both(self, who: str) -> Sequence[Connection]:
        """Connections that are open together: the worker with the fewest takes the next one, so each has one."""
        tls = self.tls_of(self.as_(who))
        return [self.connect(tls) for _ in range(3)]


class RightsTests(ParkingTestCase):
    """The rights of the access file."""

    def test_matrix(self) -> None:
        """Each right allows its action, on its queue alone; the audit log has who read, dropped, or had no right."""
        self.park(SECRET)
        self.park(SECRET, odd=True)
        ids = {
            path: json.loads(self.look("ann", path).body)["messages"][0]["id"] for path in (self.path, self.odd_path)
        }
        statuses: dict[tuple[str, str], list[int]] = {}
        for who in ("reader", "replayer", "dropper", "nobody"):
            for path, id_ in ids.items():
                order = {"ids": [id_], "dry_run": True}
                found = [self.look(who, each).status for each in (path, f"{path}/{id_}", f"{path}/{id_}/body")]
                found += [self.order(who, f"{path}/{action}", order).status for action in ("replay", "drop")]
                statuses[who, "odd" if path == self.odd_path else "usual"] = found
        nothing, strange = [404] * 5, [403] * 5
        self.assertEqual(
            statuses,
            {
                ("reader", "usual"): [200, 200, 200, 403, 403],
                ("reader", "odd"): nothing,
                ("replayer", "usual"): [200, 403, 403, 202, 403],
                ("replayer", "odd"): nothing,
                ("dropper", "usual"): nothing,
                ("dropper", "odd"): [200, 403, 403, 403, 202],
                ("nobody", "usual"): strange,
                ("nobody", "odd"): strange,
            },
        )
        lines = self.audit_lines()[self.audited :]
        self.assertEqual([each["id"] for each in lines if each["event"] == "shown"], [ids[self.path]] * 2)
        refused = {(each["operator"], each["queue"], each["action"]) for each in lines if each["event"] == "refused"}
        self.assertIn(("replayer", self.queue, "show"), refused)
        self.assertIn(("dropper", self.queue, "drop"), refused)
        self.assertEqual({each["from"] for each in lines}, {"127.0.0.1"})

    def test_without_read(self) -> None:
        """Without "read" no response has anything that a message says: not by a list, a search, a job or an error."""
        self.park(SECRET)
        (message,) = json.loads(self.look("replayer", self.path).body)["messages"]
        for response in (
            self.look("replayer", self.path),
            self.look("replayer", f"{self.path}?grep=iban"),
            self.look("replayer", f"{self.path}/{message['id']}"),
            self.look("replayer", f"{self.path}/{message['id']}/body"),
            self.order("replayer", f"{self.path}/replay", {"filter": {"grep": "secret"}, "dry_run": True}),
            self.order("replayer", f"{self.path}/replay", {"all": True, "dry_run": True}),
        ):
            self.assertNotIn(b"secret", response.body.replace(b'"secret"', b""), response)
            self.assertNotIn(b"iban", response.body)
        self.assertEqual(self.look("replayer", f"{self.path}?grep=iban").status, 403)

    def test_drop_and_replay(self) -> None:
        """What was dropped is gone, what was replayed is served; each message has its line in the audit log."""
        self.park(b'"a"', b'"b"', b'"c"')
        messages = json.loads(self.look("ann", self.path).body)["messages"]
        drop = self.order("ann", f"{self.path}/drop", {"ids": [messages[1]["id"]], "why": "test"})
        self.assertEqual(self.until_over("ann", drop)["done"], 1)
        replay = self.order("replayer", f"{self.path}/replay", {"all": True, "expected_count": 2})
        self.assertEqual(self.until_over("replayer", replay)["done"], 2)
        self.gateway.until("both are served", lambda: len(self.model.bodies) == 2)
        self.assertEqual((sorted(self.model.bodies), self.parked()), ([b'"a"', b'"c"'], 0))
        lines = self.audit_lines()[self.audited :]
        found = [(each["event"], each["operator"], each["why"], each["rquid"]) for each in lines]
        rquids = [each["rquid"] for each in messages]
        self.assertEqual(found[0], ("dropped", "ann", "test", rquids[1]))
        self.assertEqual(
            sorted(found[1:]), sorted(("replayed", "replayer", "", rquid) for rquid in (rquids[0], rquids[2]))
        )

    def test_not_there(self) -> None:
        """Callers without any right learn nothing of queues and jobs; the admin listener has none of it."""
        for path in ("/v1/parking", "/v1/parking/jobs", self.path, "/v1/parking/nope", f"/v1/parking/jobs/{'0' * 32}"):
            self.assert_problem(self.ask(get(path.encode()), self.as_("nobody")), 403, "forbidden")
            self.assertEqual(self.admin(path)[0], 404)


class OriginTests(ParkingTestCase):
    """Requests that a page of another origin has a browser send, with the operator's certificate."""

    def test_cross_site(self) -> None:
        """They are refused before anything is done, and no other origin may read, even if CORS_ORIGINS has all."""
        self.park(SECRET)
        order = json.dumps({"all": True, "expected_count": 1}).encode()
        for headers, status in (
            ([b"Origin: https://evil.example"], 403),
            ([b"Origin: null"], 403),
            ([b"Origin: http://localhost"], 403),
            ([b"Sec-Fetch-Site: cross-site"], 403),
            ([b"Content-Type: text/plain"], 415),
            ([b"Content-Type: application/x-www-form-urlencoded"], 415),
        ):
            for action in ("drop", "replay"):
                request = post(order, *headers, target=f"{self.path}/{action}".encode())
                response = self.ask(request, self.as_("ann"))
                self.assertEqual(response.status, status, headers)
                self.assertNotIn("access-control-allow-origin", response.headers)
        reading = get(self.path.encode()).replace(b"\r\n\r\n", b"\r\nOrigin: https://evil.example\r\n\r\n")
        self.assertNotIn("access-control-allow-origin", self.ask(reading, self.as_("ann")).headers)
        self.assertEqual(self.ask(get(self.path.encode(), b"OPTIONS"), self.as_("ann")).status, 405)
        self.assertEqual(self.parked(), 1)


class HostileTests(ParkingTestCase):
    """Hostile names, ids, filters and messages."""

    def test_names_and_ids(self) -> None:
        """Names and ids that are none are 404, and nothing of them gets into a response's headers."""
        for name in (
            "..%2f..%2fetc", "%00", "%0d%0aX-Evil:%201", "%ff", "a" * 4000, "*", "%23", "jobs%2f..", ";", "%25",
            "amq.direct", self.queue + ".parking", self.queue + "%00", self.queue + "%20",
        ):  # fmt: skip
            response = self.ask(get(f"/v1/parking/{name}".encode()), self.as_("ann"))
            self.assertIn(response.status, (400, 404), name)
            self.assertNotIn("x-evil", response.headers)
        for id_ in ("..%2f", "%00", "0" * 31, "0" * 33, "G" * 32, "0" * 32, quote(HOSTILE), "0" * 4000):
            for path in (f"{self.path}/{id_}", f"{self.path}/{id_}/body", f"/v1/parking/jobs/{id_}"):
                self.assertEqual(self.look("ann", path).status, 404, path)

    def test_filters(self) -> None:
        """Huge filters are refused, or served; a pattern that takes others ages takes no time, and no request waits."""
        self.park(*[b'"' + b"a" * 1_000_000 + b'!"'] * 5)
        for query in ("(a%2B)%2B$", "(a|aa)%2B$", "(.*)*x", "(a%3F){100}a{100}x"):
            began = time.monotonic()
            look = threading.Thread(target=self.look, args=("ann", f"{self.path}?grep={query}"))
            look.start()
            self.assert_serves()
            look.join()
            self.assertLess(time.monotonic() - began, 10, query)
        self.assertEqual(self.look("ann", f"{self.path}?grep=((a{{1000}}){{1000}}){{1000}}").status, 400)
        ids = [f"{number:032x}" for number in range(20_000)]
        response = self.order("ann", f"{self.path}/drop", {"ids": ids})
        self.assertEqual(self.until_over("ann", response)["done"], 0)
        self.assertEqual(self.order("ann", f"{self.path}/drop", {"ids": [*ids, ids[0]]}).status, 400)
        self.assertEqual(self.order("ann", f"{self.path}/drop", {"ids": ids * 2}).status, 413)
        self.assertEqual(self.order("ann", f"{self.path}/drop", {"all": True, "why": "x" * 1_000_000}).status, 400)
        self.assertEqual(self.look("ann", f"{self.path}?grep={'a' * 5000}").status, 400)
        self.assertEqual(self.parked(), 5)

    def test_messages(self) -> None:
        """Whatever a message says, it is a value of JSON, and its body a file of which no browser makes a page."""
        body = f"<html>{HOSTILE}</html>".encode()
        with channel() as opened:
            headers: Any = {
                "pg-reason": HOSTILE,
                HOSTILE: HOSTILE,
                "RqUID": "r\r\nX-Evil: 1",
                "deep": {"x": [{"y": None}]},
            }
            names = ("content_encoding", "message_id", "reply_to", "correlation_id")
            properties = pika.BasicProperties("text/html", headers=headers, **dict.fromkeys(names, HOSTILE))
            opened.basic_publish("", f"{self.queue}.parking", body, properties, mandatory=True)
        found = json.loads(self.look("ann", self.path).body)
        (message,) = found["messages"]
        self.assertEqual((message["reason"], message["headers"][HOSTILE]), (HOSTILE, HOSTILE))
        whole = json.loads(self.look("ann", f"{self.path}/{message['id']}").body)
        self.assertEqual(whole["body"], {"text": body.decode()})
        response = self.look("ann", f"{self.path}/{message['id']}/body")
        self.assertEqual((response.body, response.headers["content-type"]), (body, "application/octet-stream"))
        self.assertEqual(response.headers["x-content-type-options"], "nosniff")
        self.assertTrue(response.headers["content-disposition"].startswith("attachment"))
        self.assertNotIn("x-evil", response.headers)


class ManyTests(ParkingTestCase):
    """Many requests at once, and several workers."""

    def test_many_looks(self) -> None:
        """Of many looks at once each is served, or refused for now; requests beside them go on, and nothing is lost."""
        self.park(*[b'"%d"' % number for number in range(50)])
        statuses: list[int] = []

        def look() -> None:
            statuses.append(self.ask(get(self.path.encode()), self.as_("ann")).status)

        threads = [threading.Thread(target=look) for _ in range(60)]
        for each in threads:
            each.start()
        self.assert_serves()
        for each in threads:
            each.join()
        self.assertLessEqual(set(statuses), {200, 409, 503})
        self.assertIn(200, statuses)
        bodies = [each["preview"]["text"] for each in json.loads(self.look("ann", self.path).body)["messages"]]
        self.assertEqual(bodies, [f'"{number}"' for number in range(50)])

    def test_other_worker(self) -> None:
        """A job can be followed and canceled at each worker, and by nobody without a right on its queue."""
        self.park(*[b'"%d"' % number for number in range(50)])
        response = self.order("ann", f"{self.path}/drop", {"all": True, "expected_count": 50, "rate": 1})
        self.assertEqual(response.status, 202, response)
        location = response.headers["location"].encode()
        for connection in self.on_both("ann"):
            found = json.loads(connection.ask(get(location)).body)
            self.assertIn(found["state"], ("counting", "running"))  # others are told once a second
            self.assertEqual((found["operator"], found["action"]), ("ann", "drop"))
        for who, status in (("dropper", 404), ("nobody", 403)):
            for connection in self.on_both(who):
                self.assertEqual(connection.ask(get(location)).status, status)
                self.assertEqual(connection.ask(get(location, b"DELETE")).status, status)
        for connection in self.on_both("reader"):
            self.assertEqual(connection.ask(get(location, b"DELETE")).status, 403)
        # The worker that has not got the job cancels it through the broker.
        connections = self.on_both("ann")
        first, *others = [connection.ask(get(location, b"DELETE")).status for connection in connections]
        self.assertEqual(first, 202)
        self.assertLessEqual(set(others), {200, 202, 404})
        for _ in range(300):
            states = [json.loads(connection.ask(get(location)).body).get("state") for connection in connections]
            if "canceled" in states:
                break
            threading.Event().wait(0.05)
        self.assertIn("canceled", states)
        self.assertGreater(self.parked(), 40)
