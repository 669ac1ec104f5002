"""The page: what it shows, what it offers, and that nothing of what others wrote becomes markup."""

from __future__ import annotations

import json
import re
from html.parser import HTMLParser
from typing import Any
from urllib.parse import quote

from provider_gateway.errors import BrokerUnavailable
from provider_gateway.parking.errors import ParkingBusy
from provider_gateway.parking.jobs import JobDocument
from provider_gateway.store.records import Record, Status
from tests.support.http_client import Client
from tests.unit.workbench.pages_base import NOW, ODD, PagesTestCase, Workbench, parked

#: What would break a page that forgets to escape, in any place.
HOSTILE = "</title><script>alert(1)</script>\"'><img src=x onerror=alert(1)>{{7*7}}${7*7}\u202e\x00\x1b[31m&lt;"
PATHS = (
    "/workbench",
    "/workbench/",
    "/workbench/parking",
    "/workbench/parking?queue=fib",
    f"/workbench/parking?queue={quote(ODD, safe='')}",
    f"/workbench/message?queue=fib&id={0:032x}",
    "/workbench/job?id=ab",
    "/workbench/results",
    "/workbench/send",
)
STATIC = ("workbench.css", "workbench.js", "icon.svg")
#: Attributes that may hold an address, and elements that there may be.
ADDRESSES = {"href", "src", "action"}
ELEMENTS = frozenset(
    re.findall(
        "[a-z0-9]+",
        """html head meta title link script body a header footer main nav section div p span h1 h2 h3 ul ol li dl dt dd
        b code pre bdi details summary form input label datalist option textarea button dialog noscript time progress
        img""",
    )
)


class _Reader(HTMLParser):
    """Reads a page as a browser does."""

    def __init__(self) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.texts.append(data)


def read(html: str) -> _Reader:
    """Read a page."""
    reader = _Reader()
    reader.feed(html)
    reader.close()
    return reader


def document(**values: Any) -> JobDocument:
    """A job."""
    usual = {"id": "ab", "queue": "fib", "action": "replay", "operator": "alice", "host": "h", "process": "p"}
    return JobDocument(**{**usual, "created": NOW - 5, "updated": NOW, "state": "running", "total": 3, **values})


class EverywhereTests(PagesTestCase):
    """What holds for every response."""

    def setUp(self) -> None:
        super().setUp()
        record = Record(
            id=f"{1:032x}", owner="client-a", routing_key=HOSTILE, rquid=HOSTILE, created=NOW - 9, expires=NOW
        )
        self.workbench = Workbench(self.clock, records=[record])
        self.parking = self.workbench.parking
        hostile = dict.fromkeys(
            ("reason", "rquid", "identity", "routing_key", "model_error", "content_type", "content_encoding"), HOSTILE
        )
        hostile |= dict.fromkeys(("message_id", "correlation_id", "reply_to"), HOSTILE)
        headers = {HOSTILE: HOSTILE, "bytes": b"\xff" + HOSTILE.encode(), "table": {HOSTILE: [HOSTILE]}}
        for queue in self.parking.messages:
            self.parking.messages[queue] = [
                parked(0, HOSTILE.encode(), **hostile, headers=headers, owner=queue),
                parked(1, json.dumps({HOSTILE: HOSTILE}).encode()),
            ]
        self.parking.add_job(document(operator=HOSTILE, host=HOSTILE, why=HOSTILE, error=HOSTILE))

    def pages(self) -> list[tuple[str, str]]:
        """All pages, those of errors included."""
        found = [(path, self.text(path)) for path in PATHS]
        found += [
            (path, self.text(path, 404))
            for path in ("/workbench/nothing", f"/workbench/parking?queue={quote(HOSTILE)}", "/workbench/job?id=00")
        ]
        for form in ("json", "text", "hex", quote(HOSTILE)):
            path = f"/workbench/message?queue=fib&id={1:032x}&as={form}"
            found.append((path, self.text(path)))
        fields = "&".join(f"{name}={quote(HOSTILE, safe='')}" for name in ("reason", "rquid", "identity"))
        found.append(("filled in", self.text(f"/workbench/parking?queue=fib&{fields}")))
        self.parking.error = ParkingBusy(HOSTILE)
        self.parking.busy = {"fib": document(operator=HOSTILE)}
        found.append(("busy", self.text(PATHS[3], 409)))
        return found

    def test_headers(self) -> None:
        """Each response forbids scripts, styles and frames of others, guessing of types, and keeping."""
        paths = [*PATHS, *(f"/workbench/static/{name}" for name in STATIC)]
        wrong = ["/workbench/static/../pages.py", "/workbench/x", "/workbench/parking?queue=x", "/workbench?a=1&a=2"]
        for path in [*paths, *wrong, "/workbench/message?queue=fib&id=<", "/workbench/parking?queue=fib&grep=("]:
            for method in ("GET", "HEAD", "POST", "PUT"):
                headers = self.get(path, method).headers
                policy = headers["content-security-policy"]
                self.assertIn("default-src 'none'; script-src 'self'; style-src 'self'", policy, path)
                for part in ("frame-ancestors 'none'", "base-uri 'none'", "form-action 'self'"):
                    self.assertIn(part, policy)
                self.assertNotIn("unsafe", policy)
                self.assertNotIn("http:", policy)
                self.assertEqual(
                    ("nosniff", "no-referrer", "no-store", "same-origin"),
                    tuple(
                        headers[name]
                        for name in (
                            *("x-content-type-options", "referrer-policy", "cache-control"),
                            "cross-origin-resource-policy",
                        )
                    ),
                )

    def test_statuses(self) -> None:
        """Paths that are there are answered, also HEAD; nothing is changed by any other method."""
        for path in PATHS:
            self.assertEqual(200, self.get(path).status, path)
            self.assertEqual(200, self.get(path, "HEAD").status, path)
            self.assertIn(self.get(path, "POST").status, (404, 405), path)

    def test_hostile(self) -> None:
        """Texts of others stay texts: no element, attribute or template comes of them, and nothing is invisible."""
        for path, html in self.pages():
            reader = read(html)
            self.assertEqual(set(), {tag for tag, _ in reader.elements} - ELEMENTS, path)
            for tag, attributes in reader.elements:
                self.assertEqual([], [name for name in attributes if name.startswith("on") or name == "style"], path)
                for name in ADDRESSES & attributes.keys():
                    self.assertRegex(attributes[name] or "", r"^(/(workbench|v1)(/|\?|$)|#)", f"{path}: {tag}")
            scripts = [attributes for tag, attributes in reader.elements if tag == "script"]
            self.assertEqual([{"type": "module", "src": "/workbench/static/workbench.js"}], scripts, path)
            self.assertNotIn("49", html.replace(HOSTILE, ""), path)
            for character in ("\u202e", "\x00", "\x1b"):
                self.assertNotIn(character, "".join(reader.texts), path)

    def test_it_is_shown(self) -> None:
        """What is hostile is not hidden: the operator sees it."""
        text = "".join(read(self.text(f"/workbench/message?queue=fib&id={0:032x}")).texts)
        self.assertIn(
            "<script>alert(1)</script>\"'><img src=x onerror=alert(1)>{{7*7}}${7*7}\\u{202e}\\x00\\x1b[31m", text
        )
        self.assertIn("&lt;", text)

    def test_structure(self) -> None:
        """Each page has a language, a title, one main heading, landmarks, a skip link, and labels for its fields."""
        for path, html in self.pages():
            reader = read(html)
            tags = [tag for tag, _ in reader.elements]
            for tag in ("html", "title", "h1", "main", "header", "footer"):
                self.assertEqual(1, tags.count(tag), f"{path}: {tag}")
            self.assertIn(("a", {"class": "skip", "href": "#main"}), reader.elements)
            ids = [attributes["id"] for _, attributes in reader.elements if "id" in attributes]
            self.assertEqual(sorted(set(ids)), sorted(ids), f"{path}: an id comes twice")
            labelled = {attributes.get("for") for tag, attributes in reader.elements if tag == "label"}
            for tag, attributes in reader.elements:
                if tag in ("input", "textarea") and attributes.get("type") not in ("hidden", "checkbox"):
                    self.assertIn(attributes["id"], labelled, path)
                for name in ("aria-labelledby", "aria-describedby", "list"):
                    if name in attributes:
                        self.assertIn(attributes[name], ids, path)

    def test_nothing_foreign(self) -> None:
        """No address of another host is in what the page is made of."""
        for name in STATIC:
            text = self.get(f"/workbench/static/{name}").body.decode()
            self.assertEqual(
                [], re.findall(r"(?:https?:)?//[a-z]", text.replace("http://www.w3.org/2000/svg", "")), name
            )
            self.assertEqual([], re.findall("innerHTML|outerHTML|insertAdjacentHTML|document.write|eval|@import", text))


class RightsTests(PagesTestCase):
    """What is offered to whom."""

    def setUp(self) -> None:
        super().setUp()
        self.parking.messages["fib"] = [parked(0, b"secret body", model_error="secret error")]

    def test_without_any(self) -> None:
        """A caller without a right is told so, and gets nothing else: no page, no style sheet, whatever the method."""
        self.workbench.operator = None
        for path in (*PATHS, "/workbench/events", "/workbench/static/workbench.css"):
            response = self.get(path)
            self.assertEqual(403, response.status, path)
            self.assertIn("no right on a parking queue", response.problem["detail"])
            self.assertIn(self.get(path, "POST").status, (403, 404, 405))
        self.assertEqual([], self.parking.shown)

    def test_all(self) -> None:
        """With all rights everything is offered."""
        html = self.text(PATHS[3])
        for act in ("replay", "drop"):
            for what in ("marked", "all"):
                self.assertIn(f'data-act="{act}" data-what="{what}"', html)

    def test_read(self) -> None:
        """With the right to read alone, nothing is offered that changes anything."""
        self.rights(fib="read")
        for path in (PATHS[3], PATHS[5]):
            html = self.text(path)
            self.assertIn("secret body", html)
            for word in ("data-act", "checkbox", "<dialog"):
                self.assertNotIn(word, html, path)

    def test_replay(self) -> None:
        """With the right to replay alone, neither bodies nor errors nor names are shown, and no drop is offered."""
        self.rights(fib="replay")
        html = self.text(PATHS[3])
        self.assertIn('data-act="replay"', html)
        for word in ('data-act="drop"', "secret", "rquid-0", "client-a", "/workbench/message"):
            self.assertNotIn(word, html)
        self.assertIn("right", self.text(PATHS[5], 403))
        self.assertEqual([], self.parking.shown)
        self.assertEqual([("refused", "show")], [(line["event"], line["action"]) for line in self.parking.lines])

    def test_pages_of_others(self) -> None:
        """A page of another origin can link here, and have nothing loaded: a look keeps others from the queue."""
        for path in (PATHS[3], PATHS[5], "/workbench/events"):
            client = Client(self.workbench.site)
            client.request("GET", path, b"", "Sec-Fetch-Site: cross-site", "Sec-Fetch-Mode: no-cors")
            self.assertEqual(403, client.response().status, path)
        self.assertEqual([], self.parking.shown)
        client = Client(self.workbench.site)
        client.request("GET", PATHS[3], b"", "Sec-Fetch-Site: cross-site", "Sec-Fetch-Mode: navigate")
        self.assertEqual(200, client.response().status)

    def test_search(self) -> None:
        """Whoever may not read cannot find out by a search what is in a body."""
        self.rights(fib="replay drop")
        self.assertNotIn("f-grep", self.text(PATHS[3]))
        for text in ("secret", "nothing"):
            self.assertIn("right", self.text(f"{PATHS[3]}&grep={text}", 403))

    def test_other_queue(self) -> None:
        """A queue without a right is as one that is not there."""
        self.rights(fib="read")
        there, not_there = (self.text(f"/workbench/parking?queue={quote(name)}", 404) for name in (ODD, "x"))
        self.assertEqual(there.replace(quote(ODD), ""), not_there)
        self.assertNotIn("odd", self.text("/workbench/parking"))
        self.assertNotIn("odd", self.text("/workbench"))

    def test_job_of_other_queue(self) -> None:
        """A job of a queue without a right is as one that is not there, and is not listed."""
        self.parking.add_job(document(queue=ODD))
        self.assertIn("/workbench/job?id=ab", self.text("/workbench/parking"))
        self.rights(fib="read")
        self.assertEqual(404, self.get("/workbench/job?id=ab").status)
        self.assertNotIn("/workbench/job?id=ab", self.text("/workbench/parking"))

    def test_stop_a_job(self) -> None:
        """Whoever may not do what a job does is not offered to stop it."""
        self.parking.add_job(document(action="drop"))
        self.assertIn("cancel-job", self.text("/workbench/job?id=ab"))
        self.rights(fib="read replay")
        self.assertNotIn("cancel-job", self.text("/workbench/job?id=ab"))


class ParkedTests(PagesTestCase):
    """Lists, filters, messages and jobs."""

    def setUp(self) -> None:
        super().setUp()
        reasons = ("status", "status", "timeout")
        self.parking.messages["fib"] = [parked(number, reason=reasons[number % 3]) for number in range(250)]

    def test_pages(self) -> None:
        """A long list comes in pages of 100; each leads to the next one and keeps the filter."""
        seen: list[str] = []
        path, said = "/workbench/parking?queue=fib&reason=status", []
        while path:
            reader = read(html := self.text(path))
            seen += re.findall(r'class="mark" value="([0-9a-f]{32})"', html)
            said += re.findall(r"Messages (.*) of 167 that fit", html)
            links = [attributes for tag, attributes in reader.elements if attributes.get("rel") == "next"]
            path = (links[0]["href"] or "") if links else ""
        self.assertEqual(["1 to 100", "101 to 167"], said)
        self.assertEqual([f"{number:032x}" for number in range(250) if number % 3 < 2], seen)

    def test_groups(self) -> None:
        """Reasons are listed with what they mean, and lead to their messages."""
        html = self.text("/workbench/parking?queue=fib")
        for words in ("167 messages", "83 messages", "The model did not answer in time", "2 h ago"):
            self.assertIn(words, html)
        self.assertIn('href="/workbench/parking?queue=fib&amp;reason=timeout"', html)

    def test_what_the_script_sends(self) -> None:
        """The list tells the script what "all" means: a filter as the HTTP interface takes it, and the number."""
        html = self.text("/workbench/parking?queue=fib&reason=timeout&older_than=1h")
        ((_, found),) = [each for each in read(html).elements if each[1].get("id") == "list"]
        self.assertEqual(("fib", "yes", "83"), (found["data-queue"], found["data-filtered"], found["data-matching"]))
        self.assertEqual(
            {"reason": "timeout", "older_than": "2026-11-27T02:26:40+00:00"}, json.loads(found["data-filter"] or "")
        )
        ((_, found),) = [each for each in read(self.text(PATHS[3])).elements if each[1].get("id") == "list"]
        self.assertEqual(("no", "250"), (found["data-filtered"], found["data-matching"]))

    def test_nothing_found(self) -> None:
        """A filter that finds nothing says so, and offers nothing to act on."""
        html = self.text("/workbench/parking?queue=fib&rquid=nobody")
        self.assertIn("No message fits the filter", html)
        self.assertNotIn("data-act", html)

    def test_empty(self) -> None:
        """An empty queue says that there is nothing to do."""
        self.parking.messages["fib"] = []
        self.assertIn("is empty: there is nothing to do", self.text("/workbench/parking?queue=fib"))

    def test_malformed(self) -> None:
        """A filter that is malformed is an error that names the field, and not all messages."""
        for query, word in (
            ("older_than=soon", "older_than"),
            ("grep=(", "grep"),
            ("after=-2", "after"),
            ("after=x", "after"),
        ):
            self.assertIn(word, self.text(f"/workbench/parking?queue=fib&{query}", 400))

    def test_busy(self) -> None:
        """If somebody else is at the queue, the page says who, and leads to the job that has to end."""
        self.parking.error = ParkingBusy("bob has been at it since 12:00.")
        self.parking.busy = {"fib": document(operator="bob")}
        for path in (PATHS[3], PATHS[5]):
            html = self.text(path, 409)
            self.assertIn("bob has been at it since 12:00.", html)
            self.assertIn('href="/workbench/job?id=ab"', html)
            self.assertIn("Try again", html)
        self.parking.busy = {"fib": document(action="look")}
        self.assertNotIn("/workbench/job", self.text(PATHS[3], 409))

    def test_broker_away(self) -> None:
        """Without the broker the page says so."""
        self.parking.error = BrokerUnavailable("The broker is away.")
        html = self.text(PATHS[3], 503)
        self.assertIn("The broker is away.", html)
        self.assertIn("Try again", html)

    def test_message(self) -> None:
        """A message is shown in full: why, what the model said, attempts, body, headers. It is read once."""
        html = self.text(f"/workbench/message?queue=fib&id={2:032x}")
        for words in (
            "The model did not answer in time",
            "Status 500",
            "boom",
            "predict.now",
            "header pg-reason",
            "never",
        ):
            self.assertIn(words, html)
        self.assertIn("<code>{\n  &#34;n&#34;: 1\n}</code>", html)
        self.assertIn(f'href="/v1/parking/fib/{2:032x}/body"', html)
        self.assertEqual([("fib", f"{2:032x}", "alice")], self.parking.shown)

    def test_message_that_is_gone(self) -> None:
        """A message that somebody else has sent again meanwhile is gone, and the page says so."""
        self.assertIn(
            "No such message is in the parking queue any more",
            self.text(f"/workbench/message?queue=fib&id={999:032x}", 404),
        )

    def test_many_headers(self) -> None:
        """A message with thousands of headers does not make a page of megabytes."""
        self.parking.messages["fib"] = [parked(0, headers={f"h{number}": "x" * 30_000 for number in range(5000)})]
        html = self.text(PATHS[5])
        self.assertLess(len(html), 1_000_000)
        self.assertIn("4,708 more headers", html)

    def test_odd_queue(self) -> None:
        """Links to a queue whose name has slashes, quotes and percent signs lead there."""
        self.parking.messages[ODD] = [parked()]
        links = [attributes.get("href") for _, attributes in read(self.text("/workbench/parking")).elements]
        (link,) = [each for each in links if each and "odd" in each]
        html = self.text(link)
        self.assertIn("1 message", html)
        (message,) = [
            attributes["href"] for _, attributes in read(html).elements if "/message?" in (attributes.get("href") or "")
        ]
        self.assertIn(f'href="/v1/parking/{quote(ODD, safe="")}/', self.text(message or ""))

    def test_job(self) -> None:
        """A job says what it does, how far it is, and what it left out; one that is over offers no stop."""
        self.parking.add_job(document(done=1, skipped=1, why="the model was down"))
        html = self.text("/workbench/job?id=ab")
        for words in ("Replay of 3 messages", "At work: 2 of 3 messages", "the model was down", "cancel-job"):
            self.assertIn(words, html)
        self.parking.add_job(document(state="failed", error="The connection was lost."))
        html = self.text("/workbench/job?id=ab")
        self.assertIn("The connection was lost.", html)
        self.assertNotIn("cancel-job", html)

    def test_job_that_counts(self) -> None:
        """A job of which the number is not known yet is shown, too."""
        self.parking.add_job(document(state="counting", total=None))
        self.assertIn("Counting the messages", self.text("/workbench/job?id=ab"))


class RequestsTests(PagesTestCase):
    """Results, and the form that sends a request."""

    def test_without_a_store(self) -> None:
        """Without a result store there is no view of results, and no link to one."""
        self.assertEqual(404, self.get("/workbench/results").status)
        self.assertNotIn("/workbench/results", self.text("/workbench"))

    def test_demo(self) -> None:
        """Only where there is a path that makes failures, the overview has a button for it."""
        self.assertNotIn("data-failures", self.text("/workbench"))
        self.workbench.beside = (b"/demo/failures",)
        self.assertIn('data-failures="/demo/failures"', self.text("/workbench"))

    def test_results(self) -> None:
        """The caller's results, and no other's, in pages."""
        records = [
            Record(
                id=f"{number:032x}",
                owner="client-a" if number != 7 else "other",
                routing_key="predict.now" if number != 8 else "withdrawn",
                rquid=f"mine-{number}" if number != 7 else "theirs",
                created=NOW - number,
                finished=NOW,
                expires=NOW + 1,
                status=Status.PENDING if number == 0 else Status.SUCCEEDED,
            )
            for number in range(60)
        ]
        self.workbench = Workbench(self.clock, records=records)
        html = self.text("/workbench/results")
        self.assertNotIn("theirs", html)
        self.assertEqual(49, html.count("mine-"), "one has a routing key that the caller may not use any more")
        self.assertIn(f'href="/v1/requests/{0:032x}"', html)
        self.assertIn(f'href="/v1/requests/{1:032x}/result"', html)
        (following,) = re.findall(r'href="(/workbench/results\?after=[0-9a-f]{32})"', html)
        self.assertEqual(9, self.text(following).count("mine-"))

    def test_form(self) -> None:
        """The form offers the routing keys that the caller may use, and what the models accept."""
        html = self.text("/workbench/send")
        self.assertIn('<option value="predict.now">', html)
        self.assertIn('<option value="application/json">', html)
