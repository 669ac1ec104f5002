"""Arguments, names and keys of the queue file: what cannot be declared is an error that names file, entry and key."""

from __future__ import annotations

import json
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from provider_gateway.config.queue_file import QueueEntry, parse_queues
from provider_gateway.errors import SettingsError

ENTRY = (
    "- {topic: t, queueName: q, bindingKey: b, dleParams: {dleExchange: e, dleQueue: w, dleArgs: {%s}}, argQueue: {%s}}"
)
YEARS = 10 * 365 * 86_400_000


class QueueFileTestCase(SynchronousTestCase):
    """Parses queue files."""

    def refusal(self, text: str, *parts: str) -> str:
        line = str(self.assertRaises(SettingsError, parse_queues, text, "queues.yaml"))
        self.assertNotIn("\n", line)
        self.assertTrue(line.startswith("queues.yaml: [0]"), line)
        self.assertLess(len(line), 400)
        for part in parts:
            self.assertIn(part, line, text)
        return line

    def entry(self, **keys: Any) -> QueueEntry:
        (entry,) = parse_queues(f"- {json.dumps({'topic': 't', 'queueName': 'q', 'bindingKey': 'b', **keys})}", "f")
        return entry


class TypesTests(QueueFileTestCase):
    """Values that AMQP cannot carry, or that no argument has."""

    def test_types(self) -> None:
        """Decimals, dates, binary data, nothing, lists and mappings are refused in argQueue and dleArgs alike."""
        for value, expected in (
            ("60000.0", "found 60000.0; write 60000"),
            ("6e4", "found '6e4'"),
            ("6.0e+4", "found 60000.0; write 60000"),
            ("1.5", "found 1.5"),
            (".inf", "found inf"),
            ("-.inf", "found -inf"),
            (".nan", "found nan"),
            ("2024-01-01", "found a date; put it in quotes"),
            ("2024-01-01T00:00:00Z", "found a time; put it in quotes"),
            ("!!binary aGk=", "found binary data"),
            ("", "found nothing"),
            ("~", "found nothing"),
            ("[]", "found a list"),
            ("{a: 1}", "found a mapping"),
            ("!!set {a}", "found set"),
            ("9223372036854775808", "64 bits"),
            ("-9223372036854775809", "64 bits"),
            ("0x" + "f" * 5000, "64 bits"),
            (r'"\ud800"', "surrogate"),
        ):
            for name in ("x-message-ttl", "x-of-a-plug-in"):
                if value == "6e4" and name != "x-message-ttl":
                    continue  # YAML 1.1: text
                for where, text in (
                    ("argQueue", ENTRY % ("", f"{name}: {value}")),
                    ("dleParams.dleArgs", ENTRY % (f"{name}: {value}", "")),
                ):
                    self.refusal(text, f"[0].{where}.{name}: ", expected)

    def test_plug_ins(self) -> None:
        """Arguments that RabbitMQ does not know are handed on: text, truth values, numbers of 64 bits."""
        given = {"x-a": "text", "x-b": True, "x-c": 2**63 - 1, "x-d": -(2**63), "x-e": "line\nend"}
        self.assertEqual(self.entry(argQueue=given).arg_queue, given)


class KnownArgumentsTests(QueueFileTestCase):
    """Arguments that RabbitMQ knows."""

    def test_wrong_values(self) -> None:
        """A value of another type or out of range is refused, with what is expected."""
        whole = "expected a whole number"
        for name, value, expected in (
            (
                "x-message-ttl",
                "'60000'",
                f"{whole} of milliseconds from 0 to {YEARS}, found '60000'; remove the quotes",
            ),
            ("x-message-ttl", "-1", f"{whole} of milliseconds from 0"),
            ("x-message-ttl", str(YEARS + 1), f"to {YEARS}"),
            ("x-message-ttl", "true", f"{whole} of milliseconds from 0 to {YEARS}, found True"),
            ("x-expires", "0", f"{whole} of milliseconds from 1"),
            ("x-max-priority", "256", f"{whole} from 0 to 255, found 256"),
            ("x-max-priority", "-1", "from 0 to 255"),
            ("x-max-priority", "high", "found 'high'"),
            ("x-max-length", "-5", f"{whole} from 0 on"),
            ("x-max-length-bytes", "yes", "found True"),
            ("x-overflow", "drop-tail", "expected 'drop-head' or 'reject-publish' or 'reject-publish-dlx'"),
            ("x-overflow", "1", "found 1"),
            ("x-queue-type", "lazy", "expected 'classic' or 'quorum', found 'lazy'"),
            ("x-queue-type", "stream", "expected 'classic' or 'quorum', found 'stream'"),
            ("x-queue-mode", "eager", "expected 'default' or 'lazy'"),
            ("x-queue-version", "3", f"{whole} from 1 to 2"),
            ("x-single-active-consumer", "'true'", "expected true or false, found 'true'"),
            ("x-single-active-consumer", "1", "expected true or false, found 1"),
            ("x-dead-letter-exchange", "7", "expected text, found 7"),
            ("x-dead-letter-exchange", "é" * 128, "at most 255 bytes"),
            ("x-dead-letter-exchange", r'"a\nb"', "control characters"),
            ("x-max-age", "7D", "is an argument of streams"),
            ("x-initial-cluster-size", "3", "is an argument of streams"),
            ("x-queue-master-locator", "x", "expected 'client-local' or 'min-masters' or 'random'"),
            ("x-queue-leader-locator", "x", "'client-local' or 'balanced'"),
            ("x-consumer-timeout", "never", f"{whole} of milliseconds"),
            ("x-message-ttl", "x" * 1000, "found 'xxxx"),
        ):
            self.refusal(ENTRY % ("", f"{name}: {value}"), f"[0].argQueue.{name}: ", expected)
        self.refusal(
            ENTRY % ("x-delivery-limit: -2, x-queue-type: quorum", ""), "dleArgs.x-delivery-limit: ", "from -1"
        )
        self.refusal(ENTRY % ("", f"{'x' * 256}: 1"), "at most 255 bytes")

    def test_right_values(self) -> None:
        """The limits of each range, and each value of the enumerations, are accepted."""
        for arguments in (
            {"x-message-ttl": 0, "x-expires": 1, "x-max-length": 0, "x-max-length-bytes": 0, "x-max-priority": 0},
            {"x-message-ttl": YEARS, "x-expires": YEARS, "x-max-priority": 255, "x-single-active-consumer": True},
            {"x-dead-letter-exchange": "", "x-dead-letter-routing-key": "é" * 127},
            *({"x-overflow": each} for each in ("drop-head", "reject-publish", "reject-publish-dlx")),
            {"x-queue-mode": "lazy", "x-queue-version": 2, "x-queue-type": "classic"},
        ):
            self.assertEqual(self.entry(argQueue=arguments).arg_queue, arguments)
            params = {"dleExchange": "e", "dleQueue": "w", "dleArgs": arguments}
            self.assertEqual(self.entry(dleParams=params).dle_params.dle_args, arguments)
        for arguments in ({"x-delivery-limit": -1}, {"x-delivery-limit": 0, "x-dead-letter-routing-key": "k"}):
            self.assertEqual(self.entry(queueType="quorum", argQueue=arguments).arg_queue, arguments)

    def test_of_the_other_type(self) -> None:
        """Arguments that only the other type of queue has are refused; so is a key without an exchange."""
        for keys, parts in (
            ("queueType: quorum, argQueue: {x-max-priority: 5}", ("argQueue.x-max-priority", "quorum", "classic")),
            ("queueType: quorum, argQueue: {x-queue-mode: lazy}", ("argQueue.x-queue-mode",)),
            ("queueType: quorum, argQueue: {x-overflow: reject-publish-dlx}", ("argQueue.x-overflow",)),
            ("argQueue: {x-delivery-limit: 5}", ("argQueue.x-delivery-limit", "classic queue", "quorum")),
            ("argQueue: {x-dead-letter-strategy: at-least-once}", ("argQueue.x-dead-letter-strategy",)),
            ("argQueue: {x-dead-letter-routing-key: k}", ("argQueue.x-dead-letter-routing-key", "beside it")),
            (
                "dleParams: {dleExchange: e, dleQueue: w, dleArgs: {x-delivery-limit: 5}}",
                ("dleParams.dleArgs.x-delivery-limit", "classic"),
            ),
            (
                "durable: false, dleParams: {dleExchange: e, dleQueue: w, dleArgs: {x-queue-type: quorum}}",
                ("dleParams.dleArgs.x-queue-type", "durable"),
            ),
        ):
            self.refusal(f"- {{topic: t, queueName: q, bindingKey: b, {keys}}}", *parts)


class QueueTypeTests(QueueFileTestCase):
    """``x-queue-type`` among the arguments."""

    def test_is_the_type(self) -> None:
        """It means the same as ``queueType``, so that the entry's other queues fit it."""
        self.assertEqual(self.entry(argQueue={"x-queue-type": "quorum"}).queue_type, "quorum")
        self.assertEqual(self.entry(argQueue={"x-queue-type": "quorum"}, queueType="quorum").queue_type, "quorum")
        self.assertEqual(self.entry(argQueue={"x-queue-type": "classic"}).queue_type, "classic")

    def test_contradiction(self) -> None:
        """Another one than ``queueType``, or a transient quorum queue, is refused."""
        for one, other in (("classic", "quorum"), ("quorum", "classic")):
            text = f"- {{topic: t, queueName: q, bindingKey: b, queueType: {one}, argQueue: {{x-queue-type: {other}}}}}"
            self.refusal(text, "argQueue.x-queue-type", f"'{one}'", f"'{other}'")
        self.refusal(
            "- {topic: t, queueName: q, bindingKey: b, durable: false, argQueue: {x-queue-type: quorum}}",
            "durable: false",
        )


class NamesTests(QueueFileTestCase):
    """Names of exchanges and queues, and keys."""

    KEYS = ("topic", "queueName", "bindingKey", "replyTo", "routingKey", "parkingQueue")

    def with_(self, key: str, value: str) -> str:
        """A queue file with this name or key, written as JSON."""
        entry: dict[str, Any] = {"topic": "t", "queueName": "q", "bindingKey": "b", "replyTo": "r"}
        if key.startswith("dle"):
            entry["dleParams"] = {"dleExchange": "e", "dleQueue": "w", key: value}
        else:
            entry[key] = value
        return f"- {json.dumps(entry)}"

    def test_characters(self) -> None:
        """Control characters, halves of surrogate pairs and more than 255 bytes are refused everywhere."""
        for key in (*self.KEYS, "dleExchange", "dleQueue"):
            for value, expected in (
                ("a\nb", "control characters are not allowed, found '\\n'"),
                ("a\x00", "control characters"),
                ("\x7f", "control characters"),
                ("a\ud800", "surrogate"),
                ("é" * 128, "at most 255 bytes"),
            ):
                self.refusal(self.with_(key, value), f"{key}", expected)

    def test_reserved(self) -> None:
        """Queues cannot have RabbitMQ's prefix ``amq.``, nor exchanges but RabbitMQ's own as they are."""
        for key in ("queueName", "replyTo", "parkingQueue", "dleQueue"):
            self.refusal(self.with_(key, "amq.mine"), key, "'amq.'")
        for key in ("topic", "dleExchange"):
            self.refusal(self.with_(key, "amq.mine"), key, "'amq.'")
            self.refusal(self.with_(key, "amq.headers"), key, "'amq.'")
            self.refusal(self.with_(key, "amq.direct"), key, "of type 'direct'")
        self.refusal("- {topic: amq.topic, queueName: q, bindingKey: b, exchangeDurable: false}", "topic", "durable")
        for kind in ("topic", "direct", "fanout"):
            self.assertEqual(self.entry(topic=f"amq.{kind}", exchangeType=kind).exchange, f"amq.{kind}")
        self.assertEqual(self.entry(queueName="amqp").queue_name, "amqp")

    def test_exchange_durable(self) -> None:
        """Queue and exchange are durable by default, each with a key of its own."""
        for keys, expected in (
            ({}, (True, True)),
            ({"durable": False}, (False, True)),
            ({"exchangeDurable": False}, (True, False)),
            ({"durable": False, "exchangeDurable": False}, (False, False)),
        ):
            entry = self.entry(**keys)
            self.assertEqual((entry.durable, entry.exchange_durable), expected)
