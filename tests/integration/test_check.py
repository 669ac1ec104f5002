"""``--check --connect`` on a real broker: what differs, what is missing, what the user may not do."""

from __future__ import annotations

import json
import uuid
from typing import TYPE_CHECKING, Any

import pika
from twisted.internet import reactor
from twisted.internet.threads import deferToThread
from twisted.web.resource import Resource
from twisted.web.server import Site

from provider_gateway.amqp.endpoint import BrokerEndpoint
from provider_gateway.amqp.topology_check import Finding, TopologyCheck
from provider_gateway.clocks import WALL_CLOCK
from provider_gateway.config.broker_url import parse_broker_url
from provider_gateway.config.queue_file import QueueEntry
from provider_gateway.config.settings import Settings
from provider_gateway.demo.sample_model import SampleModel
from tests.support.integration import IntegrationTestCase

if TYPE_CHECKING:
    from provider_gateway.amqp.session import Session
    from provider_gateway.config.settings import Role


async def nothing(_session: Session) -> None:
    """Prepare nothing."""


class CheckTestCase(IntegrationTestCase):
    """Runs the check."""

    async def check(self, *arguments: str, status: int = 0, **options: Any) -> list[str]:
        """Run the check; returns what it says about the topology."""
        process = self.start("--check", "--connect", *arguments, **options)
        self.assertEqual(await process.when_ended(), status, "\n".join(process.lines[-9:]) + process.errors)
        self.assertNotIn("Traceback", "\n".join(process.lines) + process.errors)
        return [line.removeprefix("topology: ") for line in process.lines if line.startswith("topology: ")]

    async def objects(self) -> list[str]:
        """Every queue, exchange and binding of the test at the broker, with its arguments."""
        path = self.folder / "exported.json"
        await deferToThread(self.broker.control, "export_definitions", str(path.resolve()))
        exported = json.loads(path.read_text())
        found = [str(each) for what in ("queues", "exchanges", "bindings") for each in exported[what]]
        return sorted(each for each in found if self.queue in each or self.exchange in each or self.output in each)


class DifferencesTests(CheckTestCase):
    """Objects that are missing, or that differ."""

    async def test_nothing_is_there(self) -> None:
        """Each missing object is one line, with status 0, for each kind of entry; afterwards nothing is there."""
        quorum = self.entry(queueType="quorum", dle=True)
        for entries in ([quorum], [self.entry(durable=False, argQueue={"x-max-priority": 3, "x-expires": 5000})]):
            found = await self.check(entries=entries)
            for what in (f"exchange '{self.exchange}'", f"queue '{self.queue}'", f"queue '{self.queue}.parking'"):
                self.assertIn(f"{what} is not there yet and will be declared at start", found)
            self.assertFalse([line for line in found if "FAILED" in line])
        self.assertEqual(await self.objects(), [])

    async def test_all_is_there(self) -> None:
        """What is as the file says is one line for an entry, whether a process runs or not; nothing is changed."""
        entries = [self.entry(dle=True)]
        gateway = await self.start(entries=entries).ready()
        before = await self.objects()
        self.assertEqual(
            await self.check(entries=entries), [f"queue '{self.queue}' and its bindings are as the queue file says"]
        )
        self.assertEqual(await self.objects(), before)
        response, _ = await self.post(gateway, {"n": 1})
        self.assertEqual(response.code, 200)

    async def test_other_arguments(self) -> None:
        """One queue with other arguments fails the check, though other objects are missing."""

        def declare(channel: Any) -> None:
            channel.queue_declare(self.queue, durable=True, arguments={"x-max-length": 10})
            channel.exchange_declare(self.exchange, "direct", durable=True)
            channel.queue_declare(self.output, durable=False)

        await self.on_channel(declare)
        before = await self.objects()
        found = await self.check(status=1)
        for part in (
            f"FAILED: queue '{self.queue}': the broker refused it: PRECONDITION_FAILED - inequivalent",
            "the queue file asks for none: set argQueue.x-max-length to 10",
            "set exchangeType to direct",
            f"set durable to false, or delete the queue '{self.output}'",
            f"queue '{self.queue}.parking' is not there yet",
        ):
            self.assertEqual(len([line for line in found if part in line]), 1, (part, found))
        self.assertEqual(len([line for line in found if "FAILED" in line]), 3)
        self.assertEqual(await self.objects(), before)


class Put(Resource):
    """Takes PUT alone."""

    isLeaf = True

    def render_PUT(self, _request: Any) -> bytes:
        return b""


class ModelsTests(CheckTestCase):
    """The models of all entries."""

    def serve(self, resource: Resource) -> str:
        """Serve a resource on a free port; returns the URL of its root."""
        site = Site(resource)
        site.noisy = False
        port: Any = reactor.listenTCP(0, site, interface="127.0.0.1")
        self.addCleanup(port.stopListening)
        return f"http://127.0.0.1:{port.getHost().port}"

    async def of_models(self, *models: dict[str, Any] | None, status: int, **variables: str) -> list[str]:
        """What the check says about the models of some entries; no model is called."""
        self.names = [f"{self.queue}.{number}" for number in range(len(models))]
        entries = [
            self.entry(queueName=name, bindingKey=name, model=model)
            for name, model in zip(self.names, models, strict=True)
        ]
        process = self.start("--check", "--connect", "--role", "provider", entries=entries, **variables)
        self.assertEqual(await process.when_ended(), status, "\n".join(process.lines[-9:]) + process.errors)
        self.assertNotIn("Traceback", "\n".join(process.lines) + process.errors)
        self.assertNotIn("hunter2", "\n".join(process.lines) + process.errors)
        self.assertEqual(self.model.requests, [])
        return [line for line in process.lines if line.startswith(("model ", "ready URL "))]

    async def test_each(self) -> None:
        """Every entry's model is asked, with its headers, and has one line; entries that share one have it together."""
        sample = self.serve(SampleModel(reactor, WALL_CLOCK).app.resource())
        shared = {"url": f"{sample}/predict", "headers": {"Authorization": "Bearer ${TOKEN}"}}
        asked: list[tuple[bytes, bytes, str]] = []
        render = self.model.render

        def noted(request: Any) -> Any:
            asked.append((request.method, request.uri, request.getHeader("authorization")))
            return render(request)

        self.model.render = noted
        keyed = {
            "url": f"{self.model_url}?key=hunter2-hunter2",
            "headers": {"Authorization": "Bearer ${TOKEN}"},
            "readyUrl": "/ready",
        }
        lines = await self.of_models(None, shared, shared, keyed, status=0, TOKEN="hunter2-token")
        _, second, third, fourth = (repr(name) for name in self.names)
        self.assertEqual(
            lines,
            [
                f"model {self.model_url}: answers (HTTP status 200 to GET)",
                f"model {sample}/predict of {second}, {third}: answers (HTTP status 405 to OPTIONS, POST is allowed)",
                f"ready URL {self.model_url.removesuffix('/predict')}/ready of {fourth}: ready",
                f"model {self.model_url}?*** of {fourth}: answers (HTTP status 200 to GET)",
            ],
        )
        keyed_uri = b"/predict?key=hunter2-hunter2"
        self.assertEqual(
            asked,
            [
                (b"OPTIONS", b"/predict", None),
                (b"GET", b"/predict", None),
                (b"GET", b"/ready", "Bearer hunter2-token"),
                (b"OPTIONS", keyed_uri, "Bearer hunter2-token"),
                (b"GET", keyed_uri, "Bearer hunter2-token"),
            ],
        )

    async def test_wrong(self) -> None:
        """A wrong path, one that takes no POST, and a model that is away are each a line that begins with FAILED."""
        sample, put = self.serve(SampleModel(reactor, WALL_CLOCK).app.resource()), self.serve(Put())
        self.model.ready_status = 404  # of every GET
        nothing = "FAILED: there is nothing at its path (HTTP status 404 to GET). Compare the path with the one that"
        lines = await self.of_models(
            None,
            {"url": f"{sample}/predictt"},
            {"url": f"{put}/predict"},
            {"url": f"{sample}/health"},
            {"url": "http://127.0.0.1:1/predict"},
            status=1,
        )
        expected = (
            nothing,
            nothing,
            "FAILED: its path allows HEAD, PUT, and not POST",
            "answers (HTTP status 200 to GET), and does not name POST as allowed, but GET",
            "FAILED: Connection was refused",
        )
        for line, part, name in zip(lines, expected, self.names, strict=True):
            self.assertIn(f": {part}", line)
            self.assertTrue(line.startswith(f"model {self.model_url}: ") or f" of {name!r}: " in line, line)


class PermissionTests(CheckTestCase):
    """Users that may not do everything."""

    async def setUp(self) -> None:
        await super().setUp()
        self.vhost, self.users = f"v{uuid.uuid4().hex[:6]}", [f"u{uuid.uuid4().hex[:6]}" for _ in range(6)]
        self.addCleanup(deferToThread, self.broker.control, "delete_vhost", self.vhost)

    async def failures(self, url: str, *roles: Role, **settings: Any) -> list[str]:
        """What the check finds wrong, in this process."""
        return [text for text, is_wrong in await self.findings(url, *roles, **settings) if is_wrong]

    async def findings(self, url: str, *roles: Role, **settings: Any) -> list[Finding]:
        """What the check finds, in this process."""
        found: list[Finding] = []
        endpoint = BrokerEndpoint(
            reactor,
            [parse_broker_url(url)],
            tls=None,
            has_client_certificate=False,
            name="check",
            instance="one",
            prepare=nothing,
        )
        session = await endpoint.open_session()
        try:
            given = Settings(rmq_url=url, instance="one", **settings)
            entries = [QueueEntry.model_validate(self.entry())]
            await TopologyCheck(session, found.append).run(entries, roles or ("gateway", "provider"), given)
        finally:
            await session.close()
        for text, is_wrong in found:
            self.assertEqual("FAILED" in text, is_wrong)
        return found

    async def import_(self, *permissions: tuple[str, str, str], topic: tuple[str, str] | None = None) -> None:
        """Make a virtual host with a user for each of these patterns: configure, write, read."""
        users = [{"name": name, "password": name, "tags": ""} for name in self.users[: len(permissions)]]
        granted = [
            {"user": name, "vhost": self.vhost, "configure": configure, "write": write, "read": read}
            for name, (configure, write, read) in zip(self.users, permissions, strict=False)
        ]
        definitions: dict[str, Any] = {"vhosts": [{"name": self.vhost}], "users": users, "permissions": granted}
        if topic is not None:
            definitions["topic_permissions"] = [
                {
                    "user": user["name"],
                    "vhost": self.vhost,
                    "exchange": self.exchange,
                    "write": topic[0],
                    "read": topic[1],
                }
                for user in users
            ]
        path = self.folder / "definitions.json"
        path.write_text(json.dumps(definitions))
        await deferToThread(self.broker.control, "import_definitions", str(path.resolve()))

    def url(self, number: int, vhost: str | None = None) -> str:
        name = self.users[number]
        return f"amqp://{name}:{name}@127.0.0.1:{self.broker.port}/{vhost or self.vhost}"

    async def test_missing_permissions(self) -> None:
        """Each missing permission is one line that says which, on what, and for whom; nothing is created."""
        await self.import_(
            (".*", ".*", ".*"),
            ("^none$", ".*", ".*"),
            (".*", "^none$", ".*"),
            (".*", ".*", "^none$"),
            (f"^{self.queue}", ".*", ".*"),
            (".*", f"^(amq.default|{self.queue}.*)$", ".*"),
        )
        self.assertEqual(await self.failures(self.url(0)), [])
        queue, replies = f"queue '{self.queue}'", f"queue '{self.output}"
        for number, expected, count in (
            (
                1,
                (
                    f"FAILED: {queue}: ",
                    f"FAILED: exchange '{self.exchange}': ",
                    f"FAILED: {replies}.",
                    "grant configure",
                ),
                6,
            ),
            (
                2,
                (
                    f"FAILED: binding of '{self.queue}': ",
                    "publishing to exchange",
                    f"publishing to exchange '{self.queue}.return'",
                    "publishing to the default",
                    "grant write",
                ),
                5,
            ),
            (3, (f"FAILED: consuming {queue}", f"FAILED: consuming {replies}.", "grant read"), 4),
            (4, (f"FAILED: exchange '{self.exchange}': ", f"FAILED: {replies}'"), 3),
            (5, (f"FAILED: publishing to exchange '{self.exchange}'",), 1),
        ):
            found = await self.failures(self.url(number))
            for part in expected:
                self.assertTrue([x for x in found if part in x], (number, part, found))
            self.assertEqual(len(found), count, "\n".join(found))
        left = await deferToThread(self.broker.control, "list_queues", "-p", self.vhost, "name")
        self.assertEqual(left.strip(), "")

    async def test_no_rights(self) -> None:
        """A user who may do nothing fails the check of a process: a line for each object and use, no traceback."""
        await self.import_(("^$", "^$", "^$"))
        for role, words in (
            ("gateway,provider", ("grant configure", f"consuming queue '{self.queue}'", "publishing to the default")),
            ("gateway", (f"publishing to exchange '{self.exchange}'",)),
            ("provider", (f"consuming queue '{self.queue}'", f"publishing to exchange '{self.queue}.return'")),
        ):
            found = await self.check("--role", role, status=1, RMQ_URL=self.url(0))
            for word in words:
                self.assertTrue([line for line in found if line.startswith("FAILED") and word in line], (word, found))

    async def test_roles(self) -> None:
        """A role is checked for what it does: only a provider consumes the work queue, only a gateway publishes."""
        await self.import_(
            (".*", ".*", f"^({self.exchange}|{self.queue}.return|{self.output}.*)$"),
            (".*", f"^(amq.default|{self.queue}.*)$", ".*"),
        )
        both: list[Role] = ["gateway", "provider"]
        for number, role in enumerate(both):
            self.assertEqual(await self.failures(self.url(number), role), [])
            found = await self.failures(self.url(number), both[1 - number])
            self.assertEqual(len(found), 1, found)

    async def test_results(self) -> None:
        """With a result store, the check looks at what is needed for that, each right for each role; nothing stays."""
        rest = f"{self.exchange}|{self.queue}.*|{self.output}(\\.one-.*)?"
        some = f"^(amq.default|{rest})$"
        await self.import_((".*", ".*", ".*"), (some, ".*", ".*"), (".*", some, ".*"), (".*", ".*", some))
        store = {"result_store": "sqlite:////r.db"}
        self.assertEqual(await self.failures(self.url(0), **store), [])
        results, done, canceled = (f"'{self.output}.{each}'" for each in ("results", "done", "canceled"))
        for number, gateway, provider in (
            (1, (f"queue {results}", f"exchange {done}", f"exchange {canceled}"), (f"exchange {canceled}",)),
            (2, (f"publishing to exchange {done}", f"publishing to exchange {canceled}"), ()),
            (3, (f"consuming queue {results}",), ()),
        ):
            self.assertEqual(await self.failures(self.url(number), "gateway"), [])
            for role, parts in (("gateway", gateway), ("provider", provider)):
                found = await self.failures(self.url(number), role, **store)
                for part in parts:
                    self.assertTrue([x for x in found if f"FAILED: {part}" in x], (number, part, found))
        left = await deferToThread(self.broker.control, "list_queues", "-p", self.vhost, "name")
        self.assertEqual(left.strip(), "")

    async def test_parking(self) -> None:
        """Rights to look at parked messages that are missing are told, for each role; the process does without them."""
        queue, output = self.queue, self.output
        all_but_note = f"^(?!.*[.]operator$)({self.exchange}|{queue}|{output})"
        await self.import_(
            (".*", ".*", ".*"),
            (".*", ".*", "^(?!.*[.]parking$)"),
            (all_but_note, ".*", ".*"),
            (".*", f"^({self.exchange}|amq.default|{queue}$|{output}.*)", ".*"),
        )
        lacks = f"parked messages of '{queue}' cannot be looked at and sent again: "
        hooks = f"parked messages of '{output}.webhooks' cannot be looked at and sent again: "
        hidden = f"nobody is told who looks at parked messages of '{queue}': queue '{queue}.parking.operator'"
        store = {"result_store": "sqlite:////r.db", "http_access": "access.yaml"}
        for number, role, settings, expected in (
            (0, "gateway", {}, []),
            (0, "gateway", store, []),
            (1, "gateway", {}, [f"{lacks}consuming queue '{queue}.parking'"]),
            (1, "provider", {}, [f"{lacks}consuming queue '{queue}.parking'"]),
            (1, "gateway", store, [f"{lacks}consuming", f"{hooks}consuming queue '{output}.webhooks.parking'"]),
            (2, "gateway", {}, [hidden]),
            (2, "gateway", store, [hidden, f"nobody is told who looks at parked messages of '{output}.webhooks'"]),
            (3, "gateway", {}, [f"{lacks}publishing to exchange '{queue}.return'"]),
        ):
            found = await self.findings(self.url(number), role, **settings)
            told = [text for text, _ in found if "parked messages" in text]
            self.assertEqual(len(told), len(expected), (number, role, told))
            for text, part in zip(told, expected, strict=True):
                self.assertTrue(text.startswith(part), (text, part))
            self.assertFalse([text for text, is_wrong in found if is_wrong and number != 3], found)
        left = await deferToThread(self.broker.control, "list_queues", "-p", self.vhost, "name")
        self.assertEqual(left.strip(), "")

    async def test_room_for_all(self) -> None:
        """A limit of the virtual host that leaves room for some of the queues is found."""
        await self.import_((".*", ".*", ".*"))
        for limit, expected in ((4, 0), (3, 1)):  # parking and work queue, replyTo, and the instance's reply queue
            limits = f'{{"max-queues": {limit}}}'
            await deferToThread(self.broker.control, "set_vhost_limits", "-p", self.vhost, limits)
            found = await self.failures(self.url(0))
            self.assertEqual(len(found), expected, found)
        self.assertIn(f"FAILED: not every queue can be declared: queue '{self.output}.one", found[0])

    async def test_topic_permissions(self) -> None:
        """Topic permissions of an exchange that exists are tried with the routing keys of the queue file."""
        await self.import_((".*", ".*", ".*"), topic=("^other", "^predict"))
        connection = await deferToThread(pika.BlockingConnection, pika.URLParameters(self.url(0)))
        await deferToThread(connection.channel().exchange_declare, self.exchange, "topic", durable=True)
        await deferToThread(connection.close)
        [failed] = await self.failures(self.url(0))
        self.assertIn("access to topic 'predict.now'", failed)
        self.assertIn("set_topic_permissions", failed)

    async def test_virtual_host(self) -> None:
        """A virtual host that is not there, or refuses the user, is one line, with status 1."""
        await self.import_((".*", ".*", ".*"))
        for vhost, words in (("nowhere", "not found"), ("%2F", "refused for user")):
            process = self.start("--check", "--connect", RMQ_URL=self.url(0, vhost))
            self.assertEqual(await process.when_ended(), 1)
            [line] = [line for line in process.lines if line.startswith("broker ")]
            self.assertIn("FAILED: refused by the broker: 530 NOT_ALLOWED - ", line)
            self.assertIn(words, line)
