"""The AMQP side from outside: initiators with pika, queue.out, entries without replyTo, messages without properties."""

from __future__ import annotations

import gzip
import json
import sys
from typing import Any

import pika
from twisted.internet.defer import Deferred

from provider_gateway.message.properties import CopiedProperties
from tests.support.folders import ROOT
from tests.support.integration import IntegrationTestCase
from tests.support.processes import Process
from tests.support.rabbitmq import take


class InitiatorTests(IntegrationTestCase):
    """Programs that publish to RabbitMQ themselves."""

    def ask(self, body: bytes, **properties: Any) -> Deferred[Any]:
        """Publish a request with these properties."""
        return self.on_channel(
            lambda channel: channel.basic_publish(
                self.exchange, "predict.now", body, pika.BasicProperties(**properties), mandatory=True
            )
        )

    def answers(self, count: int = 1) -> Deferred[Any]:
        """Wait for replies in queue.out."""
        return self.on_channel(lambda channel: take(channel, self.output, count))

    async def test_example(self) -> None:
        """The README's example program gets its reply on its own exclusive queue."""
        entry = self.entry(topic="ML.MQ", queueName="fib", replyTo="response")
        self.model.answer = lambda _body: (200, b'{"result": 18}')
        await self.start("--role", "provider", entries=[entry]).ready()
        example = Process.start(
            self,
            [sys.executable, str(ROOT / "examples/initiator.py"), self.broker.plain_url],
            {"PATH": "/usr/bin:/bin"},
        )
        self.assertEqual(await example.when_ended(), 0, example.errors)
        self.assertEqual(example.lines, ['status 200: {"result": 18}'])

    async def test_reply_to_wins(self) -> None:
        """The reply goes to a message's reply_to; without one, to the entry's replyTo."""
        await self.start("--role", "provider").ready()
        mine = f"{self.output}.mine"
        self.addCleanup(self.on_channel, lambda channel: channel.queue_delete(mine))
        await self.on_channel(lambda channel: channel.queue_declare(mine, durable=True))
        await self.ask(b'"mine"', reply_to=mine, correlation_id="a")
        await self.ask(b'"default"', correlation_id="b")
        [(properties, body)] = await self.on_channel(lambda channel: take(channel, mine))
        self.assertEqual((properties.correlation_id, body), ("a", b'"mine"'))
        [(properties, body)] = await self.answers()
        self.assertEqual((properties.correlation_id, body), ("b", b'"default"'))
        self.assertEqual(properties.headers["pg-status"], 200)
        self.assertEqual(properties.delivery_mode, 2)

    async def test_direct_reply_to(self) -> None:
        """An initiator with RabbitMQ's direct reply-to gets its reply, and its message is not parked."""
        await self.start("--role", "provider").ready()

        def call(channel: Any) -> bytes:
            pseudo_queue = "amq.rabbitmq.reply-to"
            answers: list[bytes] = []
            channel.basic_consume(pseudo_queue, lambda *each: answers.append(each[3]), auto_ack=True)
            properties = pika.BasicProperties(reply_to=pseudo_queue, message_id="m")
            channel.basic_publish(self.exchange, "predict.now", b'"direct"', properties, mandatory=True)
            while not answers:
                channel.connection.process_data_events(0.1)
            return answers[0]

        self.assertEqual(await self.on_channel(call), b'"direct"')
        self.assertEqual(await self.on_channel(self.waiting), 0)
        parked = await self.on_channel(
            lambda channel: channel.queue_declare(f"{self.queue}.parking", passive=True).method.message_count
        )
        self.assertEqual(parked, 0)

    async def test_bare_message(self) -> None:
        """A message without correlation id, headers, content type and body is served and acknowledged."""
        await self.start("--role", "provider").ready()
        await self.ask(b"")
        [(properties, body)] = await self.answers()
        self.assertEqual((properties.correlation_id, body), (None, b""))
        sent, headers = self.model.requests[0]
        self.assertEqual((sent, headers["content-type"]), (b"", "application/json"))
        self.assertEqual(await self.on_channel(self.waiting), 0)

    async def test_odd_headers(self) -> None:
        """Header tables, numbers and line breaks in a message never reach the model's HTTP request."""
        await self.start("--role", "provider").ready()
        odd = {"table": {"a": 1}, "number": 7, "broken": "a\r\nInjected: yes", "bad name": "x", "fine": "yes"}
        await self.ask(b"1", headers=odd)
        await self.answers()
        _, headers = self.model.requests[0]
        self.assertEqual(headers["fine"], "yes")
        self.assertFalse({"table", "number", "broken", "bad name", "injected"} & set(headers))

    async def test_content_encoding(self) -> None:
        """The model gets the content coding of a message, and the body byte for byte; what is none gets 415."""
        await self.start("--role", "provider").ready()
        body = gzip.compress(b"[1]")
        await self.ask(body, content_encoding="gzip")
        await self.answers()
        [(sent, headers)] = self.model.requests
        self.assertEqual((sent, headers["content-encoding"]), (body, "gzip"))
        await self.ask(body, content_encoding="gz ip")
        [(properties, _)] = await self.answers()
        told = (properties.headers["pg-status"], properties.headers["pg-reason"])
        self.assertEqual((told, len(self.model.requests)), ((415, "content-encoding"), 1))

    async def test_model_failure(self) -> None:
        """A failed model call gives a problem document as the reply, and the message is acknowledged."""
        await self.start("--role", "provider").ready()
        self.model.answer = lambda _body: (500, b"oops")
        await self.ask(b"1", correlation_id="c", headers={"RqUID": "r-7"})
        [(properties, body)] = await self.answers()
        self.assertEqual(properties.content_type, "application/problem+json")
        self.assertEqual((properties.correlation_id, properties.headers["pg-status"]), ("c", 502))
        self.assertEqual(properties.headers["pg-reason"], "status")
        self.assertEqual(json.loads(body)["rquid"], "r-7")
        self.assertEqual(await self.on_channel(self.waiting), 0)

    async def test_worker(self) -> None:
        """An entry without replyTo: the model is called, nothing is published, the message is acknowledged."""
        gateway = await self.start("--role", "provider", entries=[self.entry(replyTo=None)]).ready()
        await self.ask(b'"work"')
        await self.model.asked()
        gateway.signal("TERM")
        self.assertEqual(await gateway.when_ended(), 0)
        self.assertEqual(await self.on_channel(self.waiting), 0)

    async def test_many_at_once(self) -> None:
        """The model is called concurrently, up to the prefetch."""
        await self.start("--role", "provider", entries=[self.entry(prefetch=5)]).ready()
        held: Deferred[tuple[int, bytes]] = Deferred()
        answers: list[Deferred[tuple[int, bytes]]] = []

        def hold(_body: bytes) -> Deferred[tuple[int, bytes]]:
            answers.append(Deferred())
            return answers[-1]

        self.model.answer = hold

        def publish(channel: Any) -> None:
            for number in range(12):
                channel.basic_publish(self.exchange, "predict.now", str(number).encode(), mandatory=True)

        await self.on_channel(publish)
        await self.model.asked(5)
        self.assertEqual(await self.on_channel(self.waiting), 7)
        self.assertEqual(len(answers), 5)
        self.model.answer = lambda body: (200, body)
        for answer in answers:
            answer.callback((200, b"0"))
        self.assertEqual(len(await self.answers(12)), 12)
        self.assertFalse(held.called)

    def waiting(self, channel: Any) -> int:
        """The number of ready messages in the work queue."""
        count: int = channel.queue_declare(self.queue, passive=True).method.message_count
        return count


class DeploymentTests(IntegrationTestCase):
    """Roles in one process, in several, and with a foreign worker."""

    async def test_two_gateways(self) -> None:
        """Two instances share one queue and one replyTo; each caller gets the response to its own request."""
        gateways = [await self.start().ready() for _ in range(2)]
        for number in range(20):
            for name, gateway in enumerate(gateways):
                _, body = await self.post(gateway, [name, number])
                self.assertEqual(body, [name, number])

    async def test_foreign_worker(self) -> None:
        """The gateway role alone works with 20 lines of pika that use only reply_to and correlation_id."""
        gateway = await self.start("--role", "gateway").ready()
        worker = Process.start(
            self,
            [sys.executable, str(ROOT / "examples/worker.py"), self.broker.plain_url, self.queue],
            {"PATH": "/usr/bin:/bin"},
        )
        await worker.when(lambda: "ready" in worker.lines)
        response, body = await self.post(gateway, {"n": 1})
        self.assertEqual((response.code, body), (200, {"worker": {"n": 1}}))
        self.assertEqual(self.model.requests, [])

    async def test_worker_of_http(self) -> None:
        """A worker that replies with a status as text, a coding and bytes in Latin-1 is understood, byte for byte.

        It reads the content type in the headers, as the seed's provider does.
        """
        gateway = await self.start("--role", "gateway").ready()
        body, latin_1 = gzip.compress(b'{"detail": "no"}'), "gr\u00fcn".encode("latin-1")

        def work(channel: Any) -> Any:
            [(asked, _)] = take(channel, self.queue)
            headers = {"pg-status": "422", "X-Echo": "@@@@"}
            answer = pika.BasicProperties(
                correlation_id=asked.correlation_id, content_encoding="gzip", content_type="application/json"
            )
            # pika writes no text that is not UTF-8.
            answer = CopiedProperties(answer, "m", headers, b"\x07X-GreenS\x00\x00\x00\x04" + latin_1)
            channel.basic_publish("", asked.reply_to, body, answer)
            return asked.headers

        told = self.on_channel(work)
        url = f"https://localhost:{await gateway.port('https')}/v1/predict"
        head = ["-H", "Content-Type: application/json; charset=utf8", "-H", "routing-key: predict.now"]
        file = (self.folder / "response-head").resolve()
        more = ("--compressed", "-D", str(file), "-H", "Host: localhost:")
        status, response, _ = await self.curl(url, *more, *head, "-d", "{}")
        self.assertEqual((status, (await told)["Content-Type"]), (0, "application/json"))
        self.assertEqual(response, '{"detail": "no"}')
        lines = file.read_bytes().split(b"\r\n")
        self.assertIn(b" 422 ", lines[0])
        self.assertIn(b"Content-Encoding: gzip", lines)
        self.assertIn(b"X-Green: " + latin_1, lines)

    async def test_roles_apart(self) -> None:
        """A gateway process and a provider process serve a request; the provider has no HTTPS listener."""
        gateway = await self.start("--role", "gateway").ready()
        provider = await self.start("--role", "provider", HTTP_CERT="/nowhere").ready()
        response, body = await self.post(gateway, {"n": 1})
        self.assertEqual((response.code, body), (200, {"n": 1}))
        self.assertFalse([line for line in provider.log if "https" in line["message"]])

    async def test_several_entries(self) -> None:
        """Each entry of the queue file has its own queue; a request goes where its routing key is bound."""
        other = f"{self.queue}.other"
        entries = [
            self.entry(),
            self.entry(topic="", queueName=other, bindingKey=None, replyTo=None),
        ]
        self.addCleanup(self.on_channel, lambda channel: channel.queue_delete(other))
        gateway = await self.start(entries=entries).ready()
        for key in ("predict.now", other):
            response, _ = await self.post(gateway, key, routing_key=key)
            self.assertEqual(response.code, 200)
        _, metrics = await self.admin(gateway, "/metrics")
        for queue in (self.queue, other):
            self.assertIn(f'consumed_total{{queue="{queue}"}} 1.0', metrics)

    async def test_seed_entry(self) -> None:
        """The seed's entry, with dleParams and argQueue, is declared as written, and served."""
        waiting = f"{self.queue}.dead"
        entry = self.entry(
            dle=True,
            dleParams={
                "dleExchange": waiting,
                "dleExchangeType": "fanout",
                "dleQueue": waiting,
                "dleArgs": {"x-message-ttl": 60000, "x-dead-letter-exchange": self.exchange},
            },
            argQueue={"x-dead-letter-exchange": waiting},
        )
        self.addCleanup(self.on_channel, lambda channel: channel.exchange_delete(waiting))
        self.addCleanup(self.on_channel, lambda channel: channel.queue_delete(waiting))
        gateway = await self.start(entries=[entry]).ready()
        response, _ = await self.post(gateway, {"n": 1})
        self.assertEqual(response.code, 200)

        def publish_to_dead_letters(channel: Any) -> int:
            channel.basic_publish(waiting, "", b"x", mandatory=True)
            # Declaring it with the same arguments succeeds: they are as written.
            arguments = {"x-message-ttl": 60000, "x-dead-letter-exchange": self.exchange}
            count: int = channel.queue_declare(waiting, durable=True, arguments=arguments).method.message_count
            return count

        self.assertEqual(await self.on_channel(publish_to_dead_letters), 1)
