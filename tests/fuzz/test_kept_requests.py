"""Requests whose answers are kept, through a whole process: whatever happens in between, each promise is kept."""

from __future__ import annotations

import json
from typing import Any, NamedTuple

from hypothesis import strategies as st

from tests.fuzz.profiles import fuzzed
from tests.support.http_client import Client, Response
from tests.support.memory_store import MemoryStore
from tests.support.model_peer import response
from tests.support.observability import counted
from tests.support.service import HTTP, ServiceTestCase

_PREFERENCES = (
    "respond-async",
    None,
    "respond-async",
    "wait=1",
    "Wait=5, respond-async",
    "wait=0",
    'respond-async;a="',
    "wait=soon",
)
_KEYS = (None, None, "k", '"k"', "l")
#: Which one of several. Most of the time there are few.
_number = st.integers(0, 3)
_submits = st.tuples(st.just("submit"), st.sampled_from(_PREFERENCES), st.sampled_from(_KEYS), st.integers(0, 2))
_answers = st.tuples(st.just("answer"), st.sampled_from((200, 200, 201, 202, 204, 404, 422, 500, 301)), _number)
_erasures = st.tuples(st.just("erase"), _number, st.sampled_from((2, 1)))
_others = st.one_of(
    st.tuples(st.just("fetch"), _number, st.sampled_from((None, "wait=1", "wait=100", "respond-async"))),
    st.tuples(st.just("list"), st.sampled_from(("", "?limit=1", "?status=pending", "?status=succeeded&limit=2"))),
    st.tuples(st.just("leave"), _number),
    st.tuples(st.just("advance"), st.sampled_from((0.5, 2, 40, 100))),
    st.tuples(st.sampled_from(("store away", "store back", "connections break"))),
)
_steps = st.one_of(_submits, _answers, _erasures, _others)
_FINAL = {"succeeded", "failed", "parked", "expired", "canceled"}


class Sent(NamedTuple):
    """A request to predict, with the connection that it was sent on."""

    client: Client
    body: bytes
    key: str | None
    prefer: str | None


class KeptRequestsTests(ServiceTestCase):
    """A new process for each example. The model answers with the body of the request, so each has a right answer."""

    store: MemoryStore

    def setUp(self) -> None:
        """Examples begin by themselves."""

    def begin_anew(self) -> None:
        self.store = MemoryStore()
        self.sent: list[Sent] = []
        self.fetching: list[Client] = []
        self.promised: dict[str, Sent] = {}
        self.erased: set[str] = set()
        self.gone: set[str] = set()
        self.done: set[int] = set()
        super().setUp()

    def begin(self, **settings: Any) -> None:
        super().begin(model_timeout=1000, **settings)

    def send(self, method: str, path: str, body: bytes = b"", *headers: str) -> Client:
        (site,) = [factory for port, factory, *_ in self.clock.tcpServers[-1:] if port == HTTP]
        client = Client(site)
        client.request(method, path, body, *headers)
        self.pump()
        return client

    def get(self, path: str, method: str = "GET") -> Response:
        return self.send(method, path).response()

    # Steps.

    def submit(self, prefer: str | None, key: str | None, body: int) -> None:
        # Without a key each body is another one: an answer cannot be taken for that of another request.
        content = b"[%d]" % (body if key is not None else 1000 + len(self.sent))
        headers = ["routing-key: predict.now"]
        if prefer is not None:
            headers.append(f"Prefer: {prefer}")
        if key is not None:
            headers.append(f"Idempotency-Key: {key}")
        client = self.send("POST", "/v1/predict", content, *headers)
        self.sent.append(Sent(client, content, key, prefer))

    def answer_call(self, status: int, number: int) -> None:
        """Answer one of the open calls of the model."""
        open_ = [
            index
            for index, call in enumerate(self.calls)
            if index not in self.done and not (call.disconnecting or call.disconnected)
        ]
        if not open_:
            return
        index = open_[number % len(open_)]
        self.done.add(index)
        call = self.calls[index]
        body = b"" if status == 204 else call.request()[2]
        call.respond(response(status, body, "Content-Type: application/json", "Connection: close"))
        call.close()
        self.pump()

    def some(self, number: int) -> str:
        """The path of a request that was promised, or of one that never was if there is none."""
        known = [*self.promised] or ["/v1/requests/" + "0" * 32]
        return known[number % len(known)]

    def erase(self, number: int, times: int) -> None:
        """Erase a request; twice, if what is pending is not only to be canceled."""
        path = self.some(number)
        for _ in range(times):
            got = self.get(path, "DELETE")
            self.assertIn(got.status, (204, 404) if self.store.is_up else (503,))
            if got.status == 204:
                self.erased.add(path)
                if self.get(path).status == 404:
                    self.gone.add(path)

    def step(self, name: str, *how: Any) -> None:
        if name == "submit":
            self.submit(*how)
        elif name == "answer":
            self.answer_call(*how)
        elif name == "fetch":
            number, prefer = how
            headers = [f"Prefer: {prefer}"] if prefer is not None else []
            self.fetching.append(self.send("GET", f"{self.some(number)}/result", b"", *headers))
        elif name == "erase":
            self.erase(*how)
        elif name == "list":
            self.assertIn(self.get(f"/v1/requests{how[0]}").status, (403, 503))  # nobody has a name here
        elif name == "leave" and self.sent:
            self.leave(self.sent[how[0] % len(self.sent)].client)
        elif name == "advance":
            self.advance(how[0])
        elif name == "connections break":
            self.break_connections()
        elif name == "store away" and self.store.is_up:
            self.store.go_away()
        elif name == "store back" and not self.store.is_up:
            self.store.come_back()
        self.pump()
        self.read()

    def leave(self, client: Client) -> None:
        if client.protocol.state != "closing" and not client.value():
            client.leave()
        self.pump()

    # Checks.

    def read(self) -> None:
        """Read the responses so far: each is well-formed, and those that promise an answer are noted."""
        for sent in self.sent:
            for got in sent.client.responses():
                self.assertIn(got.status, (200, 201, 202, 204, 404, 409, 410, 422, 502, 503, 504), got)
                if "location" in got.headers:
                    self.assertIn(got.status, (202, 409, 504))
                    self.promised.setdefault(got.headers["location"], sent)
                elif got.status < 300:
                    self.assertEqual(got.body, b"" if got.status == 204 else sent.body)
                if got.status == 202 and "location" in got.headers:
                    self.assertNotIn(sent.prefer, (None, "wait=soon"))
                if "idempotent-replayed" in got.headers:
                    self.assertIsNotNone(sent.key)

    def finish(self) -> None:
        """Let all that was begun come to its end."""
        if not self.store.is_up:
            self.store.come_back()
        for _ in range(8):
            self.advance(130)
            for _ in range(len(self.calls) + len(self.sent)):
                self.answer_call(200, 0)
        self.read()

    def assert_kept(self, path: str, sent: Sent) -> None:
        """Check that a promised request has ended, and that its result is its own."""
        got, result = self.get(path), self.get(f"{path}/result")
        if path in self.gone:
            self.assertEqual((got.status, result.status), (404, 404))
            return
        self.assertEqual(got.status, 200, got)
        document = json.loads(got.body)
        self.assertIn(document["status"], _FINAL)
        self.assertEqual((document["links"]["self"], document["uid"]), (path, document["id"]))
        if document["status"] == "canceled":
            self.assertIn(path, self.erased)
            self.assertEqual((result.status, result.problem["title"]), (410, "The request was canceled"))
        elif document["status"] == "succeeded":
            self.assertEqual(result.body, b"" if result.status == 204 else sent.body)
            self.assertEqual(result.status, document["model_status"])
        elif document["model_status"] in (404, 422):
            self.assertEqual((result.status, result.body), (document["model_status"], sent.body))
        else:
            self.assertIn((document["status"], result.problem["status"]), (("parked", 502), ("expired", 504)))

    @fuzzed(60, steps=st.lists(_steps, min_size=8, max_size=20))
    def test_promises(self, steps: list[tuple[Any, ...]]) -> None:
        """Each 202, 409 and 504 with ``Location`` ends in one of the five states, and its body is right.

        What was erased is canceled, or unknown. Nothing is left in flight or in a queue, and no bug is logged.
        """
        self.begin_anew()
        for step in steps:
            self.step(*step)
        self.finish()
        for path, sent in self.promised.items():
            self.assert_kept(path, sent)
        for client in (*self.fetching, *[sent.client for sent in self.sent]):
            self.leave(client)
        self.assertEqual(counted(self.metrics.http_in_flight), 0)
        self.assertEqual(self.flushLoggedErrors(), [])
        self.assertEqual([self.waiting(name) for name in ("work", "replies.results")], [0, 0])
        self.service.stopService()
