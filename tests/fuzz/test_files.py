"""The user's files: any content is read, or refused with one line that names the file."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import Any

import yaml
from hypothesis import strategies as st
from jsonschema import Draft202012Validator
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from provider_gateway.config.queue_file import QueueEntry, load_queues, parse_queues
from provider_gateway.errors import Forbidden, RateLimited, SettingsError
from provider_gateway.security.access_rules import AccessRule, AccessRules
from provider_gateway.security.identity import Identity
from provider_gateway.topology.checks import check_entries, warnings
from provider_gateway.topology.routing import Routes
from tests.fuzz.profiles import fuzzed
from tests.fuzz.yaml_texts import REPEATED, RULES, access_files, queue_files
from tests.support.folders import ROOT


def _repeated_key(text: str) -> str | None:
    """A key that is repeated in one mapping of the text, found with PyYAML's parser."""
    try:
        node = yaml.compose(text, yaml.SafeLoader)
    except (yaml.YAMLError, RecursionError, ValueError):
        return None
    seen, left = set(), [node]
    while left:
        each = left.pop()
        if id(each) in seen or each is None:
            continue
        seen.add(id(each))
        if isinstance(each, yaml.MappingNode):
            keys = [key.value for key, _ in each.value if isinstance(key, yaml.ScalarNode)]
            if len(keys) > len(set(keys)):
                return str(max(keys, key=keys.count))
            left += [inner for pair in each.value for inner in pair]
        elif isinstance(each, yaml.SequenceNode):
            left += each.value
    return None


def _schema(name: str) -> Draft202012Validator:
    return Draft202012Validator(json.loads((ROOT / "docs" / "schemas" / name).read_text(encoding="utf-8")))


class FileTestCase(SynchronousTestCase):
    """Files with any content."""

    def setUp(self) -> None:
        directory = tempfile.TemporaryDirectory()
        self.addCleanup(directory.cleanup)
        self.path = Path(directory.name, "file.yaml")

    def assert_one_line(self, error: SettingsError, name: str) -> None:
        self.assertTrue(str(error).startswith(f"{name}:"), error)
        self.assertEqual(str(error).splitlines(), [str(error)])
        self.assertNotIn("Traceback", str(error))
        str(error).encode()  # the line is printed
        self.assertLess(len(str(error)), 2000)

    def read_queues(self, text: str) -> tuple[QueueEntry, ...] | None:
        """The entries; None if the text is refused, with one line that names the file."""
        try:
            return parse_queues(text, "file.yaml")
        except SettingsError as error:
            self.assert_one_line(error, "file.yaml")
        return None

    def rules(self, text: str) -> AccessRules | None:
        """The rules; None if the text is refused, with one line that names the file."""
        self.path.write_text(text, encoding="utf-8")
        try:
            return AccessRules(self.path, Clock())
        except SettingsError as error:
            self.assert_one_line(error, f"HTTP_ACCESS: {self.path}" if "HTTP_ACCESS" in str(error) else str(self.path))
        return None


class QueueFileTests(FileTestCase):
    """The queue file."""

    @fuzzed(200, text=queue_files)
    def test_any_text(self, text: str) -> None:
        """A queue file gives usable entries, or an error of one line; what is read is valid by the schema of docs/."""
        entries = self.read_queues(text)
        if entries is None:
            return
        self.assertTrue(all(isinstance(each, QueueEntry) for each in entries))
        _schema("queue-file.schema.json").validate(yaml.safe_load(text))
        self.assertEqual(len({each.queue_name for each in entries}), len(entries))
        Routes(entries).exchange("a.b")
        shown = yaml.safe_dump([each.model_dump(by_alias=True, mode="json", exclude_none=True) for each in entries])
        self.assertNotIn("${TOKEN}", shown)
        for line in warnings(entries, 300):
            self.assertEqual(line.splitlines(), [line])
        try:
            check_entries(entries)
        except SettingsError as error:
            self.assertEqual(str(error).splitlines(), [str(error)])

    @fuzzed(150, text=st.one_of(queue_files, queue_files, st.sampled_from(REPEATED)))
    def test_repeated_key(self, text: str) -> None:
        """A repeated key is refused in any mapping: only one of its values could be meant."""
        key = _repeated_key(text)
        if key is not None:
            self.assertIsNone(self.read_queues(text), f"{key!r} stands twice")

    @fuzzed(50, data=st.one_of(st.binary(max_size=30), queue_files.map(lambda text: text.encode("utf-16"))))
    def test_any_bytes(self, data: bytes) -> None:
        """A file that is not text is refused with one line."""
        self.path.write_bytes(data)
        try:
            load_queues(self.path)
        except SettingsError as error:
            self.assert_one_line(error, str(self.path))

    @fuzzed(10, depth=st.sampled_from((1, 20, 200, 3000)), kind=st.sampled_from(("[", "{a: ", "- ", "? ", "&a [")))
    def test_deep(self, depth: int, kind: str) -> None:
        """Very deep nesting is refused with one line."""
        self.assertIsNone(self.read_queues(kind * depth))
        self.assertIsNone(
            self.read_queues("- {argQueue: {a: " + "[" * depth + "]" * depth + "}, topic: '', queueName: q}")
        )


class AccessFileTests(FileTestCase):
    """The access file."""

    @fuzzed(200, text=access_files, key=st.text(max_size=6), name=st.text(max_size=6))
    def test_any_text(self, text: str, key: str, name: str) -> None:
        """An access file gives usable rules, or an error of one line; what is read is valid by the schema of docs/."""
        access_rules = self.rules(text)
        if access_rules is None:
            return
        rules: Any = access_rules._rules
        self.assertTrue(all(isinstance(each, AccessRule) for each in rules))
        _schema("access-file.schema.json").validate(yaml.safe_load(text))
        for _ in range(3):
            try:
                access_rules.check(Identity((name,), 0), key)
            except RateLimited as refusal:
                self.assertGreaterEqual(refusal.retry_after or 0, 1)
            except Forbidden:
                self.assertFalse(any(each.allows(Identity((name,), 0), key) for each in rules))
            else:
                self.assertTrue(any(each.allows(Identity((name,), 0), key) for each in rules))

    @fuzzed(60, text=access_files)
    def test_reload(self, text: str) -> None:
        """A wrong file leaves the current rules in force."""
        access_rules = self.rules(RULES[0])
        assert access_rules is not None
        before = access_rules._rules
        self.path.write_text(text, encoding="utf-8")
        try:
            access_rules.load()
        except SettingsError:
            self.assertIs(access_rules._rules, before)
