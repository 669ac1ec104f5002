"""The keys of the queue file about an entry's own model: each value is read, and each mistake is one line."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

from twisted.trial.unittest import SynchronousTestCase

from provider_gateway.config.header_template import filled_headers
from provider_gateway.config.queue_file import parse_queues
from provider_gateway.errors import SettingsError

if TYPE_CHECKING:
    from provider_gateway.config.model_entry import ModelEntry
    from provider_gateway.config.queue_file import QueueEntry

START = "- {topic: t, queueName: q, bindingKey: b, "


def only_entry(keys: str) -> QueueEntry:
    """The entry with these keys."""
    (entry,) = parse_queues(f"{START}{keys}}}", "f")
    return entry


def model(keys: str) -> ModelEntry:
    """The model of an entry with these keys under ``model``."""
    found = only_entry(f"model: {{{keys}}}").model
    assert found is not None
    return found


class ModelTests(SynchronousTestCase):
    """``model:``."""

    def test_every_key(self) -> None:
        """Every key is read; text forms show neither headers nor the query of a URL."""
        found = model(
            "url: 'https://fraud.ml.svc:8443/predict?key=hunter2', protocol: http, cacert: ca.pem, "
            "cert: /c/tls.crt, key: /c/tls.key, headers: {Authorization: 'Bearer ${TOKEN}', x-key: hunter2}, "
            "readyUrl: /ready, name: fraud"
        )
        assert found.url is not None
        self.assertEqual(found.url.reveal(), "https://fraud.ml.svc:8443/predict?key=hunter2")
        files = (found.cacert, found.cert, found.key)
        self.assertEqual(files, (Path("ca.pem"), Path("/c/tls.crt"), Path("/c/tls.key")))
        self.assertEqual((found.protocol, str(found.ready_url), found.name), ("http", "/ready", "fraud"))
        self.assertEqual(
            filled_headers(found.headers, {"TOKEN": "t0\n"}, "q"), {"Authorization": "Bearer t0", "x-key": "hunter2"}
        )
        shown = found.model_dump(by_alias=True, mode="json", exclude_none=True)
        self.assertEqual(shown["headers"], {"Authorization": "***", "x-key": "***"})
        self.assertEqual((shown["url"], shown["cert"]), ("https://fraud.ml.svc:8443/predict?***", "/c/tls.crt"))
        for text in (repr(found), str(found), json.dumps(shown)):
            self.assertNotIn("hunter2", text)

    def test_defaults(self) -> None:
        """Without the key there is no model of one's own; within it, nothing is needed."""
        self.assertIsNone(only_entry("prefetch: 1").model)
        found = model("name: fraud")
        self.assertEqual((found.url, found.protocol, found.headers, found.cert), (None, "http", (), None))

    def test_equal_models(self) -> None:
        """Models with the same settings are equal and can be told apart from others: entries may share one."""
        one, same, other = (
            model(f"url: 'http://m/', headers: {{a: {value}}}, name: x") for value in ("v", "v", "'${V}'")
        )
        self.assertEqual({one, same}, {one})
        self.assertNotEqual(one, other)

    def test_legal_addresses(self) -> None:
        """IPv6 literals, underscores and the line end of a file are legal in a URL."""
        for text, expected in (
            ("http://[::1]:8080/", "http://[::1]:8080/"),
            ("http://fraud_model:8080/predict", "http://fraud_model:8080/predict"),
            ("http://m:1/\\n", "http://m:1/"),
        ):
            url = model(f'url: "{text}"').url
            assert url is not None
            self.assertEqual(url.reveal(), expected)

    def test_ready_url(self) -> None:
        """The key may stand under ``model`` or beside it, but not at both places."""
        self.assertEqual(str(only_entry("readyUrl: /r, model: {url: 'http://m/'}").ready_url), "/r")

    def test_grpc(self) -> None:
        """A gRPC model has a host and a port, and its name where the protocol has one."""
        self.assertEqual(model("url: 'http://m:8001', protocol: mlserving-grpc").protocol, "mlserving-grpc")
        self.assertEqual(model("url: 'https://m:8001/', protocol: open-inference-grpc, name: x").name, "x")


class HeaderTests(SynchronousTestCase):
    """``${NAME}`` in headers."""

    def filled(self, value: str, **variables: str) -> str:
        return filled_headers(model(f"headers: {{X: '{value}'}}").headers, variables, "q")["X"]

    def test_variables(self) -> None:
        """A value may have several variables, and dollars that are none; what a variable holds is not filled again."""
        self.assertEqual(self.filled("${A}-$B-${_c1}$", A="1", _c1="${A}"), "1-$B-${A}$")
        self.assertEqual(self.filled("clé", A="x"), "clé")

    def test_wrong_variables(self) -> None:
        """An unknown, empty or malformed variable is one line that names queue, header and variable, and no value."""
        for variables, part in (
            ({}, "TOKEN is not set"),
            ({"TOKEN": " \n"}, "TOKEN is not set"),
            ({"TOKEN": "hunter2\r\nX: y"}, "TOKEN has a character"),
            ({"TOKEN": "hunter2\0"}, "TOKEN has a character"),
        ):
            error = self.assertRaises(SettingsError, self.filled, "Bearer ${TOKEN}", **variables)
            self.assertIn("model.headers.X of queue 'q'", str(error))
            self.assertIn(part, str(error))
            self.assertNotIn("hunter2", str(error))
            self.assertEqual(len(str(error).splitlines()), 1)


class EntryTests(SynchronousTestCase):
    """``paths``, ``accept``, ``acceptEncoding``, ``openInference``."""

    def test_defaults(self) -> None:
        """An entry without these keys is as before: JSON, as it is, by /v1/predict."""
        entry = only_entry("prefetch: 1")
        found = (entry.paths, entry.accept, entry.accept_encoding, entry.open_inference)
        self.assertEqual(found, ((), ("application/json",), (), False))

    def test_values(self) -> None:
        """One value may be written as text; names are in lower case, and each stands once."""
        entry = only_entry("paths: /v1/x:predict, accept: IMAGE/JPEG, acceptEncoding: x-gzip")
        self.assertEqual((entry.paths, entry.accept), (("/v1/x:predict",), ("image/jpeg",)))
        self.assertEqual(entry.accept_encoding, ("gzip",))
        entry = only_entry(
            "accept: [image/*, '*/*', application/vnd.x+json, image/*], acceptEncoding: [gzip, br, GZIP]"
        )
        self.assertEqual(entry.accept, ("image/*", "*/*", "application/vnd.x+json"))
        self.assertEqual(entry.accept_encoding, ("gzip", "br"))

    def test_paths(self) -> None:
        """Paths may have any segments but the gateway's own, also beside them."""
        paths = ["/invocations", "/v1/models/fraud:predict", "/v1/predict/fraud", "/v1/requested", "/v22", "/a.b/~c@d"]
        self.assertEqual(only_entry(f"paths: {json.dumps(paths)}").paths, tuple(paths))

    def test_key_of_paths(self) -> None:
        """The key is ``routingKey``, or the single binding key, or the queue's name on the default exchange."""
        for text, key in (
            ("- {topic: t, queueName: q, bindingKey: b}", "b"),
            ("- {topic: t, queueName: q, bindingKey: b, routingKey: c}", "c"),
            ("- {topic: t, queueName: q, bindingKey: [b, c]}", None),
            ("- {topic: t, queueName: q, bindingKey: 'b.*'}", None),
            ("- {topic: t, queueName: q, bindingKey: ''}", None),
            ("- {topic: t, exchangeType: fanout, queueName: q}", None),
            ("- {topic: '', queueName: q}", "q"),
        ):
            (entry,) = parse_queues(text, "f")
            self.assertEqual(entry.path_key, key, text)


#: Keys of an entry, and what the error must contain.
MISTAKES = (
    ("model: x", ("[0].model: expected a valid dictionary, found 'x'",)),
    ("model: {urls: 'http://m/'}", ("[0].model.urls", "unknown key")),
    ("model: {url: 'ftp://m/'}", ("[0].model.url: expected http://…",)),
    ("model: {url: 'http://hunter2@m/'}", ("[0].model.url: expected", "without user")),
    ("model: {url: 8080}", ("[0].model.url: expected http://…",)),
    ("model: {url: ''}", ("[0].model.url: expected http://…",)),
    ("model: {url: 'http://m:0/'}", ("[0].model.url: expected a port from 1 to 65535",)),
    ("model: {protocol: grpc}", ("[0].model.protocol", "'mlserving-grpc'", "found 'grpc'")),
    ("model: {readyUrl: ready}", ("[0].model.readyUrl: expected http://…", "begins with /")),
    ("model: {name: a/b}", ("[0].model.name: expected a name",)),
    ("model: {name: ''}", ("[0].model.name: expected a name",)),
    ("model: {name: 7}", ("[0].model.name: expected a name",)),
    ("model: {name: ..}", ("[0].model.name: expected a name",)),
    ("model: {url: 'https://m/', cert: c.pem}", ("[0].model: cert and key: expected both or neither",)),
    ("model: {url: 'https://m/', key: k.pem}", ("[0].model: cert and key: expected both or neither",)),
    ("model: {url: 'https://m/', cacert: ''}", ("[0].model.cacert: expected the path of a file",)),
    ("model: {url: 'http://m/', cacert: c.pem}", ("[0].model: cacert", "https")),
    ("model: {cacert: c.pem}", ("[0].model: cacert", "url", "MODEL_CACERT")),
    ("model: {protocol: open-inference}", ("[0].model: name: needed with the protocol open-inference",)),
    ("model: {protocol: open-inference-grpc}", ("[0].model: name: needed",)),
    ("model: {url: 'http://m/x', protocol: mlserving-grpc}", ("[0].model: url", "without path")),
    ("model: {url: 'http://m?q', protocol: mlserving-grpc}", ("[0].model: url", "without path")),
    ("model: {headers: [a]}", ("[0].model.headers: expected a mapping",)),
    ("model: {headers: {a b: hunter2}}", ("[0].model.headers: expected a header name, found 'a' and more",)),
    ("model: {headers: {X-Key hunter2}}", ("[0].model.headers: expected a header name, found 'X-Key' and more",)),
    ("model: {headers: {'X-Key: hunter2': ''}}", ("expected a header name, found 'X-Key' and more",)),
    ("model: {headers: {' hunter2': ''}}", ("expected a header name, found none",)),
    ("model: {headers: {7: hunter2}}", ("[0].model.headers: expected a header name, found 7",)),
    ("model: {headers: {Content-Length: hunter2}}", ("[0].model.headers: expected other headers than Content-Length",)),
    ("model: {headers: {pg-reply: hunter2}}", ("[0].model.headers: expected other headers than pg-reply",)),
    ("model: {headers: {a: hunter2, A: hunter3}}", ("[0].model.headers: expected each header once", "A twice")),
    ("model: {headers: {a: 1234}}", ("[0].model.headers: expected text as the value of a", "quotes")),
    ("model: {headers: {a: ' '}}", ("[0].model.headers: expected a value of a",)),
    ('model: {headers: {a: "hunter2\\r\\nb: c"}}', ("[0].model.headers: expected a value of a",)),
    ('model: {headers: {a: "hunter2\\ud800"}}', ("expected",)),
    ("model: {headers: {a: '${hunter2-}'}}", ("[0].model.headers: expected variables in the value of a",)),
    ("model: {headers: {a: '${'}}", ("[0].model.headers: expected variables in the value of a",)),
    ("readyUrl: /a, model: {readyUrl: /b}", ("[0]: readyUrl: stands under model",)),
    ("openInference: true", ("[0]: openInference: needs model.name",)),
    ("openInference: true, model: {url: 'http://m/'}", ("[0]: openInference: needs model.name",)),
    ("openInference: 'yes'", ("[0].openInference: expected a valid boolean",)),
    ("paths: [a]", ("[0].paths[0]: expected a path", "found 'a'")),
    ("paths: [/]", ("[0].paths[0]: expected a path",)),
    ("paths: [/a/]", ("[0].paths[0]: expected a path",)),
    ("paths: [//a]", ("[0].paths[0]: expected a path",)),
    ("paths: ['/a?b']", ("[0].paths[0]: expected a path",)),
    ("paths: ['/a#b']", ("[0].paths[0]: expected a path",)),
    ("paths: ['/a%20b']", ("[0].paths[0]: expected a path",)),
    ("paths: ['/<id>']", ("[0].paths[0]: expected a path",)),
    ("paths: ['/größe']", ("[0].paths[0]: expected a path",)),
    ('paths: ["/a\\n"]', ("[0].paths[0]: expected a path",)),
    ("paths: [/a/../b]", ("[0].paths[0]: expected a path without",)),
    ("paths: [/./b]", ("[0].paths[0]: expected a path without",)),
    ("paths: [7]", ("[0].paths[0]: expected a valid string", "found 7")),
    ("paths: [/v1/predict]", ("[0].paths[0]: expected another path than the gateway's own",)),
    ("paths: [/v1/publish]", ("[0].paths[0]: expected another path",)),
    ("paths: [/v1/models]", ("[0].paths[0]: expected another path",)),
    ("paths: [/v1/requests/x]", ("[0].paths[0]: expected another path",)),
    ("paths: [/health]", ("[0].paths[0]: expected another path",)),
    ("paths: [/v2]", ("[0].paths[0]: expected another path",)),
    ("paths: [/v1/parking]", ("[0].paths[0]: expected another path",)),
    ("paths: [/workbench/x]", ("[0].paths[0]: expected another path",)),
    ("paths: [/v2/models/x/infer]", ("[0].paths[0]: expected another path",)),
    ("paths: [/a, /a]", ("[0].paths: '/a' is a path of queue 'q' already",)),
    ("paths: [/a]}\n- {topic: t, queueName: p, bindingKey: c, paths: /a", ("[1].paths: '/a' is a path of queue 'q'",)),
    ("paths: [/a], routingKey: 'b.#'", ("[0]: paths: needs a routingKey",)),
    ("accept: 5", ("[0].accept: expected a list, found 5",)),
    ("paths: {a: b}", ("[0].paths: expected a list",)),
    ("accept: []", ("[0].accept: expected at least one",)),
    ("accept: json", ("[0].accept[0]: expected a media type", "'json'")),
    ("accept: ['*/json']", ("[0].accept[0]: expected a media type",)),
    ("accept: ['text/plain; charset=utf-8']", ("[0].accept[0]: expected a media type", "without parameters")),
    ("accept: [1]", ("[0].accept[0]: expected a valid string",)),
    ("acceptEncoding: identity", ("[0].acceptEncoding[0]: expected a content coding",)),
    ("acceptEncoding: ['*']", ("[0].acceptEncoding[0]: expected a content coding",)),
    ("acceptEncoding: [gzip, UTF-8]", ("[0].acceptEncoding[1]: expected a content coding",)),
    ("acceptEncoding: binary", ("[0].acceptEncoding[0]: expected a content coding",)),
    (
        (
            "model: {name: m}, openInference: true}\n"
            "- {topic: t, queueName: p, bindingKey: c, model: {name: m}, openInference: true"
        ),
        ("[1].model.name: 'm' is the model of queue 'q' already",),
    ),
)


class MistakesTests(SynchronousTestCase):
    """Errors for these keys."""

    def test_each_mistake(self) -> None:
        """Every error is one line that names the key and says what was expected; it quotes no URL and no header."""
        for keys, parts in MISTAKES:
            line = str(self.assertRaises(SettingsError, only_entry, keys))
            self.assertTrue(line.startswith("f: "), line)
            self.assertEqual(len(line.splitlines()), 1, line)
            self.assertNotIn("more)", line, f"one mistake in {keys!r}")
            self.assertNotIn("hunter", line.replace("${hunter2-}", ""))
            for part in parts:
                self.assertIn(part, line, f"{keys!r} gives {line!r}")

    def test_same_name_without_open_inference(self) -> None:
        """Entries may name the same model if callers do not ask for it by its name."""
        entries = parse_queues(
            "- {topic: t, queueName: q, bindingKey: b, model: {name: m}, openInference: true}\n"
            "- {topic: t, queueName: p, bindingKey: c, model: {name: m}}",
            "f",
        )
        self.assertEqual(len(entries), 2)
