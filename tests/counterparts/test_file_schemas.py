"""A JSON Schema validator reads queue files and access files as editors do, by the schemas under docs/."""

from __future__ import annotations

import json
import re
from itertools import product
from typing import TYPE_CHECKING, Any

import yaml
from jsonschema import Draft202012Validator
from twisted.trial.unittest import SynchronousTestCase

from devtools.file_schemas import file_schemas, text_of
from provider_gateway.config.queue_file import parse_queues
from provider_gateway.config.yaml_file import parse_entries
from provider_gateway.errors import SettingsError
from provider_gateway.security import access_rules
from tests.support.folders import ROOT

if TYPE_CHECKING:
    from collections.abc import Iterator

SCHEMAS = ROOT / "docs" / "schemas"
#: Values of keys of a rule, the right and the wrong ones; ... stands for a key that is missing.
_RULE_VALUES: dict[str, tuple[Any, ...]] = {
    "routingKeys": (..., None, ["k"], []),
    "parking": (..., None, ["read"], ["read", "drop"], [], ["write"]),
    "queues": (..., None, ["*"], ["q", "r"], [], [""], "*"),
    "rate": (..., None, 5),
    "burst": (..., None, 5),
    "webhooks": (..., {}),
}
_MODELINE = re.compile(r"\A# yaml-language-server: \$schema=(\S+)$", re.MULTILINE)
#: Keys by which a list is known to be a queue file, and an access file.
_QUEUES, _ACCESS = "queueName", "identities"

_Q = "- {topic: T, queueName: q, bindingKey: k"
_M = _Q + ", model: {"
_A = "- {identities: [a], routingKeys: ['#']"
_W = _A + ", webhooks: {w: {url: 'https://h/', secretFiles: [s]"
_BACK = "{x-message-ttl: 1, x-dead-letter-exchange: T}"
#: Queue files and access files with one mistake each, which both the program and an editor find.
WRONG_QUEUES = (
    "[]",
    "- {topic: T, queueName: q}",
    "- {queueName: q, bindingKey: k}",
    "- {topic: T, bindingKey: k}",
    "- {topic: T, queueName: '', bindingKey: k}",
    "- {topic: T, queueName: amq.q, bindingKey: k}",
    "- {topic: amq.headers, queueName: q, bindingKey: k}",
    "- {topic: amq.direct, queueName: q, bindingKey: k}",
    "- {topic: amq.topic, queueName: q, bindingKey: k, exchangeDurable: false}",
    "- {topic: T, queueName: q, bindingKey: []}",
    '- {topic: T, queueName: "a\\tb", bindingKey: k}',
    f"{_Q}, queueNam: x}}",
    f"{_Q}, exchangeType: headers}}",
    f"{_Q}, prefetch: '100'}}",
    f"{_Q}, prefetch: 0}}",
    f"{_Q}, prefetch: 1.5}}",
    f"{_Q}, timeout: 0}}",
    f"{_Q}, timeout: .inf}}",
    f"{_Q}, dle: 'true'}}",
    f"{_Q}, durable: 1}}",
    f"{_Q}, retryDelay: 0}}",
    f"{_Q}, queueType: stream}}",
    f"{_Q}, queueType: quorum, durable: false}}",
    f"{_Q}, argQueue: {{x-queue-type: quorum}}, durable: false}}",
    f"{_Q}, queueType: classic, argQueue: {{x-queue-type: quorum}}}}",
    f"{_Q}, argQueue: {{x-max-length: '5'}}}}",
    f"{_Q}, argQueue: {{x-max-length: -1}}}}",
    f"{_Q}, argQueue: {{x-any: 1.5}}}}",
    f"{_Q}, argQueue: {{x-any: null}}}}",
    f"{_Q}, argQueue: {{x-overflow: drop}}}}",
    f"{_Q}, argQueue: {{x-max-age: 1D}}}}",
    f"{_Q}, argQueue: {{x-delivery-limit: 5}}}}",
    f"{_Q}, queueType: quorum, argQueue: {{x-max-priority: 5}}}}",
    f"{_Q}, queueType: quorum, argQueue: {{x-overflow: reject-publish-dlx}}}}",
    f"{_Q}, argQueue: {{x-dead-letter-routing-key: k}}}}",
    f"{_Q}, dle: true, dleParams: {{dleExchange: x, dleQueue: y}}}}",
    f"{_Q}, dleParams: {{dleExchange: x}}}}",
    f"{_Q}, dleParams: {{dleExchange: amq.topic, dleQueue: y}}}}",
    f"{_Q}, readyUrl: ready}}",
    f"{_Q}, readyUrl: /r, model: {{readyUrl: /r}}}}",
    f"{_Q}, paths: v1/x}}",
    f"{_Q}, paths: /v1/x/}}",
    f"{_Q}, paths: /v1/../x}}",
    f"{_Q}, paths: [/v1/predict]}}",
    f"{_Q}, paths: /v2/x}}",
    f"{_Q}, paths: /docs}}",
    "- {topic: T, queueName: q, bindingKey: a.*, paths: /v1/x}",
    "- {topic: T, queueName: q, bindingKey: [a, b], paths: /v1/x}",
    "- {topic: T, queueName: q, bindingKey: k, routingKey: 'a.#', paths: /v1/x}",
    f"{_Q}, openInference: true}}",
    f"{_Q}, accept: json}}",
    f"{_Q}, accept: []}}",
    f"{_Q}, accept: 'image/jpeg; q=1'}}",
    f"{_Q}, acceptEncoding: identity}}",
    f"{_Q}, acceptEncoding: 'gzip, br'}}",
    f"{_M}url: 'ftp://h/'}}}}",
    f"{_M}url: 'https://u:p@h/'}}}}",
    f"{_M}url: 'https://h/ x'}}}}",
    f"{_M}protocol: grpc}}}}",
    f"{_M}protocol: open-inference}}}}",
    f"{_M}protocol: mlserving-grpc, url: 'http://h:1/x'}}}}",
    f"{_M}name: a/b}}}}",
    f"{_M}name: ..}}}}",
    f"{_M}cert: c, url: 'https://h/'}}}}",
    f"{_M}cacert: c}}}}",
    f"{_M}cacert: c, url: 'http://h/'}}}}",
    f"{_M}headers: {{'a b': c}}}}}}",
    f"{_M}headers: {{Content-Type: c}}}}}}",
    f"{_M}headers: {{pg-x: c}}}}}}",
    f"{_M}headers: {{a: ''}}}}}}",
    f"{_M}headers: {{a: 1}}}}}}",
    f"{_M}headers: {{a: '${{b'}}}}}}",
    f"{_M}headers: null}}}}",
    f"{_M}urls: x}}}}",
)
WRONG_RULES = (
    "- {identities: [a]}",
    "- {identities: [], routingKeys: [k]}",
    "- {identities: a, routingKeys: [k]}",
    "- {identities: [''], routingKeys: [k]}",
    "- {identities: ['a.*.b'], routingKeys: [k]}",
    f"{_A}, rate: 0}}",
    f"{_A}, rate: '5'}}",
    f"{_A}, burst: 5}}",
    f"{_A}, rate: 5, burst: 1.5}}",
    f"{_A}, routingKey: k}}",
    f"{_A}, webhooks: {{'a b': {{url: 'https://h/', secretFiles: [s]}}}}}}",
    f"{_A}, webhooks: {{w: {{url: 'https://h/'}}}}}}",
    f"{_A}, webhooks: {{w: {{url: 'http://h/', secretFiles: [s]}}}}}}",
    f"{_A}, webhooks: {{w: {{url: 'https://h/', secretFiles: [whsec_x]}}}}}}",
    f"{_W}, cacert: ''}}}}}}",
    "- {identities: [a], routingKeys: null}",
    "- {identities: [a], parking: [read]}",
    "- {identities: [a], queues: [q]}",
    "- {identities: [a], parking: null, queues: null}",
    "- {identities: [a], parking: [read], queues: ['*'], rate: 5}",
    f"{_A}, parking: [read]}}",
    f"{_A}, parking: [read], queues: null}}",
    f"{_A}, queues: [q]}}",
    f"{_A}, parking: read, queues: [q]}}",
    f"{_A}, parking: [write], queues: [q]}}",
    f"{_A}, parking: [Read], queues: [q]}}",
    f"{_A}, parking: [], queues: [q]}}",
    f"{_A}, parking: [read], queues: []}}",
    f"{_A}, parking: [read], queues: ['']}}",
    f"{_A}, parking: [read], queues: '*'}}",
    f"{_A}, parking: [read], queues: [5]}}",
)
RIGHT_QUEUES = (
    "- {topic: '', queueName: q}",
    "- {topic: F, queueName: q, exchangeType: fanout}",
    "- {topic: amq.direct, exchangeType: direct, queueName: q, bindingKey: ['']}",
    f"{_Q}, replyTo: ''}}",
    f"{_Q}, replyTo: null, timeout: null, model: null, readyUrl: null}}",
    f"{_Q}, timeout: 5, prefetch: 1}}",
    f"{_Q}, argQueue: {{x-queue-type: quorum, x-delivery-limit: 5, x-dead-letter-routing-key: k, x-any: true}}}}",
    f"{_Q}, dle: true, dleParams: {{dleExchange: x, dleQueue: y, dleArgs: {_BACK}}}}}",
    f"{_Q}, accept: [' Image/JPEG ', '*/*', 'application/vnd.x+json'], acceptEncoding: [GZIP, x-gzip]}}",
    "- {topic: '', queueName: q, paths: /v1/x, openInference: true, model: {name: m}}",
    f"{_Q}, routingKey: a, paths: ['/v1/models/q:predict', /...]}}",
    f"{_M}url: '  HTTPS://münchen.example:1/a?b=c\\n', cacert: c, cert: d, key: e, readyUrl: /r}}}}".replace(
        "'  ", '"  '
    ).replace("\\n'", '\\n"'),
    f'{_M}headers: {{a: " $5 ${{B}} \\n", X-B: c}}}}}}',
    f"{_M}url: 'http://h:1', protocol: open-inference-grpc, name: m}}}}",
)
RIGHT_RULES = (
    "[]",
    "- {identities: [a], parking: [read], queues: ['*']}",
    "- {identities: [a], routingKeys: null, rate: null, parking: [read, replay, drop], queues: [a/b, 'ü %', '*']}",
    f"{_A}, rate: 5, parking: [drop, drop], queues: [q, q]}}",
    f"{_A}, parking: null, queues: null}}",
    f"{_A}, queues: null}}",
    "- {identities: ['*', '*.a', a], routingKeys: ['#'], rate: 5, burst: 5, webhooks: {}}",
    "- {identities: [a], routingKeys: [k], rate: null, burst: null}",
    f"{_W}, cacert: c}}}}}}",
    "- {identities: [a], routingKeys: [k], webhooks: {w: {url: 'http://LOCALHOST:80', secretFiles: [s]}}}",
    "- {identities: [a], routingKeys: [k], webhooks: {w: {url: 'http://127.1/x?y', secretFiles: [s]}}}",
    "- {identities: [a], routingKeys: [k], webhooks: {w: {url: 'http://[::1]:8/', secretFiles: [s]}}}",
)


def validator(name: str) -> Draft202012Validator:
    """The validator of a schema of docs/."""
    return Draft202012Validator(json.loads((SCHEMAS / name).read_text(encoding="utf-8")))


def lists_with(key: str) -> Iterator[tuple[str, Any]]:
    """Queue files or access files in the project's YAML files, config maps and documents, each with where it stands."""
    for folder in ("conf", "examples", "openshift", "docs", "tests/deployment"):
        for path in sorted((ROOT / folder).rglob("*")):
            if path.suffix not in (".yaml", ".md"):
                continue
            text = path.read_text(encoding="utf-8")
            blocks = (
                re.findall(r"^```yaml\n(.*?)^```", text, re.MULTILINE | re.DOTALL) if path.suffix == ".md" else [text]
            )
            for block in blocks:
                for found in _lists(yaml.safe_load_all(block)):
                    if any(isinstance(each, dict) and key in each for each in found):
                        yield str(path.relative_to(ROOT)), found


def _lists(values: Any) -> Iterator[list[Any]]:
    """All lists in a YAML file, and in the texts of its values that are YAML."""
    for value in values.values() if isinstance(values, dict) else values:
        if isinstance(value, list):
            yield value
        if isinstance(value, dict | list):
            yield from _lists(value)
        elif isinstance(value, str) and "\n" in value and (_QUEUES in value or _ACCESS in value):
            try:
                yield from _lists([yaml.safe_load(value)])
            except yaml.YAMLError:
                continue


class FileSchemasTests(SynchronousTestCase):
    """The schemas of docs/schemas."""

    queues, rules = validator("queue-file.schema.json"), validator("access-file.schema.json")

    def problems(self, of: Draft202012Validator, data: Any) -> list[str]:
        """What an editor underlines."""
        return [f"{error.json_path}: {error.message}"[:300] for error in of.iter_errors(data)]

    def is_read(self, text: str, *, is_queues: bool) -> bool:
        """True if the program reads a file with this text."""
        try:
            if is_queues:
                parse_queues(text, "file.yaml")
            else:
                parse_entries(text, "file.yaml", "rules", access_rules._RULES)
        except SettingsError:
            return False
        return True

    def test_current(self) -> None:
        """The files are those of the classes that read them: "make documents" writes them."""
        self.assertEqual({path.name for path in SCHEMAS.iterdir()}, set(file_schemas()))
        for name, schema in file_schemas().items():
            self.assertEqual((SCHEMAS / name).read_text(encoding="utf-8"), text_of(schema), "run: make documents")
            Draft202012Validator.check_schema(schema)

    def test_described(self) -> None:
        """Each key of an entry, its model, a rule and its webhooks says what it means."""
        for schema in file_schemas().values():
            for name, definition in schema["$defs"].items():
                silent = [key for key, value in definition["properties"].items() if "description" not in value]
                self.assertTrue(not silent or name == "DleParams", f"{name}: {silent}")
        text = json.dumps(file_schemas(), ensure_ascii=False)
        self.assertEqual(re.findall(r"\]\(|MaskedURL|HeaderTemplate|:class:", text), [])

    def test_examples(self) -> None:
        """Every queue file and access file of the project is valid: examples, config maps, and those in docs/."""
        for key, of, among in (
            (_QUEUES, self.queues, {"conf/queue_config.yaml", "openshift/common/queue-file.yaml", "docs/settings.md"}),
            (_ACCESS, self.rules, {"examples/access.yaml", "docs/security.md"}),
        ):
            found = list(lists_with(key))
            self.assertEqual(among - {where for where, _ in found}, set())
            for where, data in found:
                # Documents show parts of entries, too.
                problems = [each for each in self.problems(of, data) if "is a required property" not in each]
                self.assertEqual(problems, [], where)

    def test_modelines(self) -> None:
        """The example files name their schema, by a path that exists, in the first line, where editors look."""
        for name, schema in (
            ("conf/queue_config.yaml", "queue-file"),
            ("examples/queue_config.yaml", "queue-file"),
            ("examples/access.yaml", "access-file"),
        ):
            path = ROOT / name
            named = _MODELINE.match(path.read_text(encoding="utf-8"))
            assert named is not None, name
            self.assertEqual((path.parent / named[1]).resolve(), SCHEMAS / f"{schema}.schema.json")

    def test_wrong(self) -> None:
        """A mistake that the program finds in a single entry is underlined in an editor."""
        for texts, of, is_queues in ((WRONG_QUEUES, self.queues, True), (WRONG_RULES, self.rules, False)):
            for text in texts:
                self.assertFalse(self.is_read(text, is_queues=is_queues), text)
                self.assertNotEqual(self.problems(of, yaml.safe_load(text)), [], text)

    def test_right(self) -> None:
        """What the program reads is not underlined."""
        for texts, of, is_queues in ((RIGHT_QUEUES, self.queues, True), (RIGHT_RULES, self.rules, False)):
            for text in texts:
                self.assertTrue(self.is_read(text, is_queues=is_queues), text)
                self.assertEqual(self.problems(of, yaml.safe_load(text)), [], text)

    def test_keys_together(self) -> None:
        """Whatever keys a rule has, an editor underlines what the program refuses, and nothing else."""
        for values in product(*_RULE_VALUES.values()):
            keys = dict(zip(_RULE_VALUES, values, strict=True))
            rules = [{"identities": ["a"], **{key: value for key, value in keys.items() if value is not ...}}]
            is_read = self.is_read(json.dumps(rules), is_queues=False)
            self.assertEqual(self.rules.is_valid(rules), is_read, rules)
