"""The queue file: all forms of the seed's files work unchanged, and each mistake is an error of one line."""

from __future__ import annotations

from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from provider_gateway.config.model_url import parse_ready_url
from provider_gateway.config.queue_file import BUILT_IN, QueueEntry, load_queues, parse_queues
from provider_gateway.errors import SettingsError

FULL = """
- topic: ML.MQ
  queueName: fib
  bindingKey: "predict.*"
  replyTo: "response"
  dle: true
  dleParams: {
    dleExchange: dead_letter_exchange, dleExchangeType: fanout, dleQueue: dead_letter_queue,
    dleArgs: {x-message-ttl: 60000, x-dead-letter-exchange: ML.MQ}
  }
  argQueue: {"x-dead-letter-exchange": dead_letter_exchange}
"""

WITHOUT_DLE_PARAMS = """
- topic: ML.MQ
  queueName: fib
  bindingKey: "predict.*"
  replyTo: "response"
  dle: true
"""

WITHOUT_DLE = """
- topic: ML.MQ
  queueName: ML.FIB.IN
  bindingKey: "predict.mlx.*"
  replyTo: ML.FIB.OUT
"""


def only_entry(text: str) -> QueueEntry:
    """The entry of a queue file with a single entry."""
    (entry,) = parse_queues(text, "queues.yaml")
    return entry


class SeedFilesTests(SynchronousTestCase):
    """The variants of the seed's file."""

    def test_full_entry(self) -> None:
        """An entry with ``dleParams`` and queue arguments keeps every value as written."""
        entry = only_entry(FULL)
        self.assertEqual("ML.MQ", entry.exchange)
        self.assertEqual("topic", entry.exchange_type)
        self.assertEqual("fib", entry.queue_name)
        self.assertEqual(("predict.*",), entry.binding_key)
        self.assertEqual("response", entry.reply_to)
        self.assertTrue(entry.dle)
        self.assertEqual({"x-dead-letter-exchange": "dead_letter_exchange"}, entry.arg_queue)
        params = entry.dle_params
        assert params is not None
        self.assertEqual("dead_letter_exchange", params.dle_exchange)
        self.assertEqual("fanout", params.dle_exchange_type)
        self.assertEqual("dead_letter_queue", params.dle_queue)
        self.assertEqual({"x-message-ttl": 60000, "x-dead-letter-exchange": "ML.MQ"}, params.dle_args)

    def test_dle_without_its_params(self) -> None:
        """``dle: true`` without ``dleParams`` is allowed: the seed's ConfigMap has it."""
        entry = only_entry(WITHOUT_DLE_PARAMS)
        self.assertTrue(entry.dle)
        self.assertIsNone(entry.dle_params)
        self.assertEqual({}, entry.arg_queue)

    def test_without_dle(self) -> None:
        """An entry without ``dle`` has no retry route; dots in names are kept."""
        entry = only_entry(WITHOUT_DLE)
        self.assertFalse(entry.dle)
        self.assertEqual(
            ("ML.FIB.IN", "ML.FIB.OUT", ("predict.mlx.*",)), (entry.queue_name, entry.reply_to, entry.binding_key)
        )

    def test_several_entries(self) -> None:
        """All entries are used, in the order of the file; the seed used only the last one."""
        entries = parse_queues(FULL + WITHOUT_DLE, "queues.yaml")
        self.assertEqual(["fib", "ML.FIB.IN"], [entry.queue_name for entry in entries])

    def test_worker(self) -> None:
        """An empty ``replyTo`` is the same as none."""
        base = "- {topic: ML.MQ, queueName: fib, bindingKey: a"
        self.assertIsNone(only_entry(base + "}").reply_to)
        self.assertIsNone(only_entry(base + ", replyTo: ''}").reply_to)

    def test_binding_key_as_text_or_list(self) -> None:
        """One binding key may be written as text; several are a list, in order."""
        base = "- {topic: ML.MQ, queueName: fib, bindingKey: "
        self.assertEqual(("a.*",), only_entry(base + "a.*}").binding_key)
        self.assertEqual(("a.*", "b.#"), only_entry(base + "[a.*, 'b.#']}").binding_key)

    def test_default_exchange_needs_no_binding_key(self) -> None:
        """``topic: ""`` is the default exchange, which routes by queue name and needs no binding key."""
        entry = only_entry('- {topic: "", queueName: fib}')
        self.assertEqual(("", ()), (entry.exchange, entry.binding_key))

    def test_fanout_needs_no_binding_key(self) -> None:
        """A fanout exchange needs no binding key, because it ignores them."""
        self.assertEqual((), only_entry("- {topic: X, exchangeType: fanout, queueName: fib}").binding_key)

    def test_defaults(self) -> None:
        """Keys that the file leaves out have the documented defaults."""
        entry = only_entry("- {topic: ML.MQ, queueName: fib, bindingKey: a}")
        found = {name: getattr(entry, name) for name in ("prefetch", "max_attempts", "retry_delay", "durable")}
        self.assertEqual({"prefetch": 100, "max_attempts": 5, "retry_delay": 60000, "durable": True}, found)
        self.assertEqual("classic", entry.queue_type)
        for name in ("routing_key", "timeout", "parking_queue"):
            self.assertIsNone(getattr(entry, name), name)

    def test_added_keys(self) -> None:
        """The keys that the seed does not have are read under camelCase names."""
        entry = only_entry(
            "- {topic: X, exchangeType: direct, queueName: q, bindingKey: k, routingKey: k, durable: true, "
            "queueType: quorum, prefetch: 7, timeout: 2.5, maxAttempts: 2, retryDelay: 1500, parkingQueue: p}"
        )
        self.assertEqual(
            ("direct", "k", "quorum", 7, 2.5, 2, 1500, "p"),
            (
                entry.exchange_type,
                entry.routing_key,
                entry.queue_type,
                entry.prefetch,
                entry.timeout,
                entry.max_attempts,
                entry.retry_delay,
                entry.parking_queue,
            ),
        )

    def test_busy_model(self) -> None:
        """The keys about a model that is busy or away have defaults, and are read under camelCase names."""
        names = ("concurrency", "min_concurrency", "max_pause", "busy_timeout", "ready_url")
        entry = only_entry("- {topic: '', queueName: q}")
        self.assertEqual(["fixed", 1, 60, 600, None], [getattr(entry, name) for name in names])
        entry = only_entry(
            "- {topic: '', queueName: q, concurrency: adaptive, minConcurrency: 3, prefetch: 3, maxPause: 0.5, "
            "busyTimeout: 86400, readyUrl: '/ready?key=hunter2'}"
        )
        expected = ["adaptive", 3, 0.5, 86400, parse_ready_url("/ready?key=hunter2")]
        self.assertEqual(expected, [getattr(entry, name) for name in names])
        self.assertNotIn("hunter2", repr(entry))
        self.assertEqual("/ready?***", entry.model_dump(by_alias=True, mode="json")["readyUrl"])

    def test_built_in_entry(self) -> None:
        """Without a file, the seed's built-in entry is used."""
        text = "- {topic: ML.MQ, queueName: fib, bindingKey: predict.*, replyTo: response}"
        self.assertEqual(parse_queues(text, "f"), BUILT_IN)

    def test_derived_names(self) -> None:
        """Retry queue, return exchange and parking queue are named after the queue; parkingQueue names another one."""
        entry = only_entry("- {topic: X, queueName: q.in, bindingKey: k}")
        self.assertEqual(
            ("q.in.retry", "q.in.return", "q.in.parking"), (entry.retry_queue, entry.return_exchange, entry.parking)
        )
        self.assertEqual("p", only_entry("- {topic: X, queueName: q, bindingKey: k, parkingQueue: p}").parking)

    def test_shared_parking_queue(self) -> None:
        """Several entries may have the same parking queue."""
        both = "".join(f"- {{topic: X, queueName: {name}, bindingKey: k, parkingQueue: p}}\n" for name in "ab")
        self.assertEqual(["p", "p"], [entry.parking for entry in parse_queues(both, "f")])

    def test_unused_dle_params(self) -> None:
        """Without ``dle``, ``dleParams`` need no way back: some files declare such a queue for other programs."""
        params = "dleParams: {dleExchange: e, dleQueue: w, dleExchangeType: direct}"
        self.assertFalse(only_entry(f"- {{topic: X, queueName: q, bindingKey: k, {params}}}").dle)

    def test_direct_waiting_exchange(self) -> None:
        """With a direct exchange, the exchange of ``dleParams`` may be direct, too."""
        text = (
            "- {topic: X, exchangeType: direct, queueName: q, bindingKey: k, dle: true, dleParams: {dleExchange: e, "
            "dleQueue: w, dleExchangeType: direct, dleArgs: {x-message-ttl: 5, x-dead-letter-exchange: X}}}"
        )
        self.assertTrue(only_entry(text).dle)

    def test_names_of_255_bytes(self) -> None:
        """A queue's name may have 255 bytes at most, and so may the names made of it."""
        exchange, queue = "é" * 127 + "x", "é" * 123 + "x"
        entry = only_entry(f"- {{topic: {exchange}, queueName: {queue}, bindingKey: {exchange}}}")
        self.assertEqual((exchange, (exchange,), queue), (entry.exchange, entry.binding_key, entry.queue_name))
        self.assertEqual(255, len(entry.parking.encode()))


DLE = "- {topic: t, queueName: q, bindingKey: b, dle: true, dleParams: {dleExchange: e, dleQueue: w, %s}}"

#: Text of the file, and what the error must contain: the key's path, then what was expected.
MISTAKES = (
    ("- {topic: t, queueName: q, bindingKey: b, prefetsch: 1}", ("[0].prefetsch", "unknown key")),
    ("- {topic: t, bindingKey: b}", ("[0].queueName", "is required and missing")),
    ("- {queueName: q, bindingKey: b}", ("[0].topic", "is required and missing")),
    ("- {topic: t, queueName: '', bindingKey: b}", ("[0].queueName", "expected text that is not empty")),
    ("- {topic: t, queueName: 7, bindingKey: b}", ("[0].queueName", "expected a valid string", "found 7")),
    ("- {topic: t, queueName: q, bindingKey: {a: b}}", ("[0].bindingKey", "expected")),
    ("- {topic: t, queueName: q, bindingKey: [5]}", ("[0].bindingKey[0]", "expected a valid string", "found 5")),
    ("- {topic: t, queueName: q, bindingKey: b, dle: 'yes'}", ("[0].dle", "expected a valid boolean", "'yes'")),
    ("- {topic: t, queueName: q, bindingKey: b, prefetch: '9'}", ("[0].prefetch", "valid integer", "'9'")),
    ("- {topic: t, queueName: q, bindingKey: b, prefetch: 0}", ("[0].prefetch", "expected greater", "1", "found 0")),
    ("- {topic: t, queueName: q, bindingKey: b, prefetch: 65536}", ("[0].prefetch", "65535", "found 65536")),
    ("- {topic: t, queueName: q, bindingKey: b, timeout: 0}", ("[0].timeout", "greater than 0", "found 0")),
    ("- {topic: t, queueName: q, bindingKey: b, maxAttempts: 0}", ("[0].maxAttempts", "1", "found 0")),
    ("- {topic: t, queueName: q, bindingKey: b, retryDelay: 0}", ("[0].retryDelay", "1", "found 0")),
    ("- {topic: '', queueName: q, concurrency: 5}", ("[0].concurrency", "expected 'fixed' or 'adaptive'", "found 5")),
    ("- {topic: '', queueName: q, minConcurrency: 0}", ("[0].minConcurrency", "expected greater", "1", "found 0")),
    ("- {topic: '', queueName: q, minConcurrency: 1.5}", ("[0].minConcurrency", "valid integer", "found 1.5")),
    ("- {topic: '', queueName: q, minConcurrency: 101}", ("[0]: minConcurrency", "at most prefetch (100), found 101")),
    (
        "- {topic: '', queueName: q, prefetch: 4, minConcurrency: 5}",
        ("[0]: minConcurrency: expected at most prefetch (4), found 5",),
    ),
    ("- {topic: '', queueName: q, maxPause: 0}", ("[0].maxPause", "greater than 0", "found 0")),
    ("- {topic: '', queueName: q, maxPause: 1m}", ("[0].maxPause", "valid number", "found '1m'")),
    ("- {topic: '', queueName: q, busyTimeout: -1}", ("[0].busyTimeout", "greater than 0", "found -1")),
    ("- {topic: '', queueName: q, busyTimeout: .inf}", ("[0].busyTimeout", "expected")),
    ("- {topic: '', queueName: q, busyTimeout: 604801}", ("[0].busyTimeout", "604800", "found 604801")),
    ("- {topic: '', queueName: q, readyUrl: ready}", ("[0].readyUrl: expected http://…", "a path on the model's host")),
    ("- {topic: '', queueName: q, readyUrl: ''}", ("[0].readyUrl: expected http://…", "begins with /")),
    ("- {topic: '', queueName: q, readyUrl: true}", ("[0].readyUrl: expected http://…", "begins with /")),
    ("- {topic: '', queueName: q, readyUrl: 'http://m:0/'}", ("[0].readyUrl: expected a port from 1 to 65535",)),
    ("- {topic: t, queueName: q, bindingKey: b, queueType: lazy}", ("[0].queueType", "'classic' or 'quorum'")),
    ("- {topic: t, queueName: q, bindingKey: b, exchangeType: headers}", ("[0].exchangeType", "'direct'", "'headers'")),
    ("- {topic: t, queueName: q, bindingKey: b, dleParams: {dleQueue: w}}", ("[0].dleParams.dleExchange", "missing")),
    (
        "- {topic: t, queueName: q, bindingKey: b, dleParams: {dleExchange: e, dleQueue: w, ttl: 1}}",
        ("[0].dleParams.ttl", "unknown key"),
    ),
    (f"- {{topic: t, queueName: {'é' * 128}, bindingKey: b}}", ("[0].queueName", "255 bytes")),
    ("- {topic: t, queueName: q}", ("[0]", "bindingKey is needed", "'q'", "'t'")),
    ("- {topic: t, queueName: q, bindingKey: []}", ("[0]", "bindingKey is needed")),
    (
        "- {topic: t, queueName: q, bindingKey: b, queueType: quorum, durable: false}",
        ("[0]", "quorum", "durable: false", "'q'"),
    ),
    (
        f"- {{topic: t, queueName: {'é' * 124}, bindingKey: b}}",
        ("[0]", "queueName is too long", "'.parking'", "255 bytes"),
    ),
    (f"- {{topic: t, queueName: q, bindingKey: b, parkingQueue: {'é' * 128}}}", ("[0].parkingQueue", "255 bytes")),
    ("- {topic: t, queueName: q, bindingKey: b, parkingQueue: ''}", ("[0].parkingQueue", "not empty")),
    ("- {topic: '', queueName: q, replyTo: q}", ("[0]", "replyTo is the queue 'q' itself")),
    (
        "- {topic: t, queueName: p, bindingKey: b}\n- {topic: t, queueName: q, bindingKey: b, parkingQueue: p}",
        ("[1].parkingQueue", "'p' is a work queue"),
    ),
    (
        "- {topic: t, queueName: q.parking, bindingKey: b}\n- {topic: t, queueName: q, bindingKey: b}",
        ("[1].parkingQueue", "'q.parking' is a work queue"),
    ),
    ("- {topic: t, queueName: q, bindingKey: b, parkingQueue: q}", ("[0].parkingQueue", "'q' is a work queue")),
    (
        "- {topic: '', queueName: a, replyTo: r}\n- {topic: '', queueName: b, replyTo: r, queueType: quorum}",
        ("[1].replyTo", "'r' is shared", "classic", "quorum"),
    ),
    (
        DLE % "dleArgs: {x-dead-letter-exchange: t}",
        ("[0]", "dleArgs", "'q'", "needs x-message-ttl", "wait for ever"),
    ),
    (
        DLE % "dleArgs: {x-message-ttl: 5}",
        ("[0]", "dleArgs", "'q'", "needs x-dead-letter-exchange", "dropped"),
    ),
    (
        DLE % "dleExchangeType: direct, dleArgs: {x-message-ttl: 5, x-dead-letter-exchange: t}",
        ("[0]", "dleExchangeType 'direct'", "'q'", "fanout or topic"),
    ),
    ("- {topic: t, queueName: p, bindingKey: b}\n- {topic: t, queueName: q, dle: 1}", ("[1].dle", "boolean")),
    (
        "- {topic: t, queueName: q, bindingKey: a}\n- {topic: t, queueName: q, bindingKey: b}",
        ("queueName 'q'", "several entries", "bindingKey"),
    ),
    ("topic: t\nqueueName: q\n", ("expected a list of queue entries", "mapping")),
    ("", ("expected a list of queue entries", "nothing")),
    ("[]", ("the file: expected at least one entry",)),
    ("- topic: 2001-99-99", ("expected YAML", "month")),
    ("[" * 3000, ("expected YAML",)),
    ('- {topic: t, queueName: q, bindingKey: b, "a\\nb": 1}', ("[0].'a\\nb'", "unknown key")),
    ("- {topic: t, queueName: q, bindingKey: b, argQueue: {x: [1]}}", ("[0].argQueue.x: expected text, a number",)),
    ("- {topic: t, queueName: q, bindingKey: b, argQueue: {x: 99999999999999999999}}", ("[0].argQueue.x", "64 bits")),
    ("- {topic: t, queueName: q, bindingKey: b, timeout: .inf}", ("[0].timeout", "finite")),
    ("- {topic: t, queueName: q, bindingKey: b, timeout: true}", ("[0].timeout", "valid number")),
    ("- {topic: t, queueName: q, bindingKey: b, retryDelay: 99999999999}", ("[0].retryDelay", "4294967295")),
    ("- fib", ("[0]", "expected a valid dictionary", "'fib'")),
    ("- topic: t\n  queueName: [\n", ("line 3, column 1", "expected YAML")),
    ("- topic: a: b", ("line 1, column 11", "expected YAML", "mapping values are not allowed here")),
    ("- !!python/name:os.system", ("line 1, column 3", "expected YAML")),
)


class MistakesTests(SynchronousTestCase):
    """Errors for a wrong queue file."""

    def test_each_mistake_is_one_line_that_names_file_key_and_expectation(self) -> None:
        """Every error is one line: the file, the key's path, what was expected and what was found."""
        for text, parts in MISTAKES:
            line = str(self.assertRaises(SettingsError, parse_queues, text, "conf/queues.yaml"))
            self.assertTrue(line.startswith("conf/queues.yaml:"), f"{text!r} gives {line!r}")
            self.assertNotIn("\n", line, f"for {text!r}")
            self.assertNotIn("more)", line, f"one mistake in {text!r}")
            for part in parts:
                self.assertIn(part, line, f"{text!r} gives {line!r}")

    def test_several_mistakes(self) -> None:
        """With several mistakes, the error has the first one and the number of the others."""
        text = (
            "- {topic: t, queueName: p, bindingKey: b}\n- {topic: t, queueName: q, bindingKey: b, dle: 1, prefetch: 0}"
        )
        line = str(self.assertRaises(SettingsError, parse_queues, text, "f"))
        self.assertTrue(line.endswith("(and 1 more)"), line)

    def test_file_that_is_there(self) -> None:
        """A file is read as UTF-8, and errors name it."""
        path = Path(self.mktemp())
        path.write_text('- {topic: "", queueName: größe}', encoding="utf-8")
        self.assertEqual("größe", load_queues(path)[0].queue_name)
        path.write_text("- {}", encoding="utf-8")
        self.assertIn(f"{path}: [0].topic", str(self.assertRaises(SettingsError, load_queues, path)))

    def test_file_that_cannot_be_read(self) -> None:
        """A missing file, a folder and a file that is not text are errors of one line that names the path."""
        missing, folder, binary = (Path(self.mktemp()) for _ in range(3))
        folder.mkdir()
        binary.write_bytes(b"\xff\xfe\x00")
        for path, reason in ((missing, "No such file"), (folder, "Is a directory"), (binary, "not UTF-8")):
            line = str(self.assertRaises(SettingsError, load_queues, path))
            self.assertRegex(line, f"^{path}: cannot be read as .*{reason}.*$")
