"""YAML files: repeated keys, anchors, merge keys, and errors of one line with the place."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pydantic import TypeAdapter
from twisted.trial.unittest import SynchronousTestCase

from provider_gateway.config.yaml_file import StrictModel, parse_entries, read_text
from provider_gateway.errors import SettingsError


class Entry(StrictModel):
    """One entry of a file of these tests."""

    full_name: str
    number: int = 0
    more: dict[str, Any] = {}  # noqa: RUF012 - pydantic copies it


ENTRIES = TypeAdapter(list[Entry])
ANYTHING = TypeAdapter(list[Any])


class YAMLTestCase(SynchronousTestCase):
    """Parses texts as lists of such entries."""

    def parse(self, text: str) -> list[Any]:
        return parse_entries(text, "conf/x.yaml", "things", ANYTHING)

    def refusal(self, text: str, adapter: TypeAdapter[Any] = ANYTHING) -> str:
        line = str(self.assertRaises(SettingsError, parse_entries, text, "conf/x.yaml", "things", adapter))
        self.assertTrue(line.startswith("conf/x.yaml:"), line)
        self.assertNotIn("\n", line)
        return line


class RepeatedKeysTests(YAMLTestCase):
    """Repeated keys."""

    def test_at_any_depth(self) -> None:
        """A key that stands twice in one mapping is an error with its place, at any depth and in any notation."""
        for text, key, place in (
            ("a: 1\na: 2", "a", "line 2, column 1"),
            ("- a: 1\n  b: 2\n  a: 3", "a", "line 3, column 3"),
            ("- {a: 1, 'a': 2}", "a", "line 1, column 10"),
            ("- a:\n    b:\n      - c: 1\n        c: 1", "c", "line 4, column 9"),
            ("- {a: {b: {c: {d: 1, d: 2}}}}", "d", "line 1, column 22"),
            ("- &x {a: 1}\n- {<<: *x, b: 1, b: 2}", "b", "line 2, column 18"),
            ("- {5: 1, 5: 2}", "5", "line 1, column 10"),
        ):
            self.assertEqual(f"conf/x.yaml: {place}: expected YAML, the key {key!r} stands twice", self.refusal(text))

    def test_in_different_mappings(self) -> None:
        """The same key in another mapping, nested or beside it, is no repetition."""
        self.assertEqual([{"a": {"a": {"a": 1}}}, {"a": 1}], self.parse("- {a: {a: {a: 1}}}\n- {a: 1}"))


class MergeTests(YAMLTestCase):
    """Anchors, aliases and merge keys."""

    def test_merge(self) -> None:
        """Merged keys may be overridden, and may come from several mappings and from mappings that merge others."""
        for text, expected in (
            ("- &x {a: 1, b: 2}\n- *x", {"a": 1, "b": 2}),
            ("- &x {a: 1, b: 2}\n- {<<: *x, c: 3}", {"a": 1, "b": 2, "c": 3}),
            ("- &x {a: 1, b: 2}\n- {<<: *x, a: 3}", {"a": 3, "b": 2}),
            ("- &x {a: 1, b: 2}\n- {a: 3, <<: *x}", {"a": 3, "b": 2}),
            ("- &x {a: 1}\n- &y {a: 2, b: 3}\n- {<<: [*x, *y]}", {"a": 1, "b": 3}),
            ("- &x {a: 1, b: 2}\n- &y {<<: *x, a: 2}\n- {<<: *y, c: 3}", {"a": 2, "b": 2, "c": 3}),
        ):
            self.assertEqual(expected, self.parse(text)[-1], text)

    def test_merge_of_a_deeper_mapping(self) -> None:
        """A mapping that overrides a merged key can be merged itself: the overridden key is no repetition."""
        text = "- &x {a: 1}\n- {deep: {deeper: &y {<<: *x, a: 2}}}\n- {<<: *y, b: 3}"
        self.assertEqual([{"deep": {"deeper": {"a": 2}}}, {"a": 2, "b": 3}], self.parse(text)[1:])

    def test_deep_chains(self) -> None:
        """Own keys win, then those of the first mapping named, however long the chain, in each version of PyYAML.

        Short keys are in this test because CPython keeps one object for each of them, which PyYAML 6.0.4 relies on.
        """
        for names in ("abc", ("first", "second", "third"), ("über", "1", "2")):
            a, b, c = names
            text = (
                f"- &x {{{a}: 1, {b}: 1, {c}: 1}}\n- &y {{<<: *x, {a}: 2}}\n- &z {{{b}: 3, <<: *y}}\n"
                f"- {{<<: [*z, *x]}}\n- {{<<: [*x, *z]}}\n- {{<<: [{{<<: *z, {c}: 4}}, *y], {a}: 5}}"
            )
            values = [list(each.values()) for each in self.parse(text)[3:]]
            self.assertEqual([sorted(each) for each in values], [[1, 2, 3], [1, 1, 1], [3, 4, 5]], names)
        self.assertEqual(self.parse("- &x {a: 1, b: 2}\n- {'<<': 5, a: 6}")[1], {"<<": 5, "a": 6})

    def test_bounded(self) -> None:
        """Mappings that merge each other twice at each level stay small: the keys do not multiply."""
        levels = "".join(f"- &x{n + 1} {{<<: [*x{n}, *x{n}, *x{n}], b: {n}}}\n" for n in range(40))
        self.assertEqual(self.parse(f"- &x0 {{a: 1}}\n{levels}")[-1], {"a": 1, "b": 39})

    def test_into_itself(self) -> None:
        """A mapping that is merged into itself, or into a part of itself, is an error with its place."""
        for text in (
            "- &x {a: 1, <<: *x}",
            "- &x {a: {<<: *x}}",
            "- &x {a: 1, <<: [*x]}",
            "- &x {a: [{<<: [{}, *x]}]}",
        ):
            self.assertIn("a mapping cannot be merged into itself", self.refusal(text), text)


class ErrorsTests(YAMLTestCase):
    """Errors for a wrong text."""

    def test_no_yaml(self) -> None:
        """For text that is no YAML, the error has line and column if they are known."""
        for text, expected in (
            ("- a\n- [b", "line 2, column 5: expected YAML, "),
            ("- a: b: c", "line 1, column 7: expected YAML, "),
            ("- *a", "line 1, column 3: expected YAML, found undefined alias 'a'"),
            ("- !!python/name:os.system", "line 1, column 3: expected YAML, could not determine a constructor"),
            ("- {[a]: b}", "line 1, column 4: expected YAML, found unhashable key"),
            ("--- []\n--- []", "line 2, column 1: expected YAML, "),
            ("- {<<: 5}", "line 1, column 8: expected YAML, "),
            ("- \0", "expected YAML, unreadable"),
            ("- 2001-99-99", "expected YAML: month must be in 1..12"),
            ("[" * 5000, "expected YAML: maximum recursion depth"),
            ("a", "expected a list of things, found a single value"),
            ("5", "expected a list of things, found a single value"),
            ("", "expected a list of things, found nothing"),
        ):
            self.assertIn(f"conf/x.yaml: {expected}", self.refusal(text), repr(text))

    def test_values_that_are_not_what_they_say(self) -> None:
        """A value that does not fit its tag, such as an impossible date, is an error like other wrong YAML."""
        for text in ("- !!int ''", "- !!int x", "- !!float ''", "- !!bool maybe", "- !!timestamp soon"):
            self.assertIn("expected YAML", self.refusal(text), text)

    def test_entries(self) -> None:
        """For a wrong entry, the error has the key's path as in the file, what was expected and what was found."""
        for text, expected in (
            ("- {}", "[0].fullName: is required and missing"),
            ("- {fullName: a}\n- {fullName: 5}", "[1].fullName: expected a valid string, found 5"),
            ("- {fullName: a, number: '1'}", "[0].number: expected a valid integer, found '1'"),
            ("- {fullName: a, number: [1]}", "[0].number: expected a valid integer"),
            ("- {fullName: a, nmber: 1}", "[0].nmber: unknown key; docs/settings.md lists the file's keys"),
            ('- {fullName: a, "x\\ny": 1}', "[0].'x\\ny': unknown key; docs/settings.md lists the file's keys"),
            ("- {fullName: a, x-y: 1}", "[0].x-y: unknown key; docs/settings.md lists the file's keys"),
            ("- {fullNme: a}", "[0].fullNme: unknown key; docs/settings.md lists the file's keys (and 1 more)"),
            (
                "- {fullNme: a, numbr: 1}\n- {fullName: a, number: x, b: 1}",
                "unknown keys: [0].fullNme, [0].numbr, [1].b; docs/settings.md lists the file's keys (and 2 more)",
            ),
            ("- {number: x, fullName: 5}", "[0].fullName: expected a valid string, found 5 (and 1 more)"),
        ):
            self.assertEqual(f"conf/x.yaml: {expected}", self.refusal(text, ENTRIES))

    def test_entry(self) -> None:
        """Keys are in camel case, and keys that are left out have their defaults."""
        (entry,) = parse_entries("- {fullName: a}", "f", "things", ENTRIES)
        self.assertEqual(Entry(fullName="a", number=0, more={}), entry)


class ReadTextTests(YAMLTestCase):
    """Reading the text of a file."""

    def test_text(self) -> None:
        """A file is read as UTF-8, whatever the locale."""
        path = Path(self.mktemp())
        path.write_bytes("größe".encode())
        self.assertEqual("größe", read_text(path, "a list"))

    def test_unreadable(self) -> None:
        """For a file that cannot be read, the error has its path, what it should be, and the reason."""
        missing, latin = Path(self.mktemp()), Path(self.mktemp())
        latin.write_bytes("größe".encode("latin-1"))
        folder = Path("/")
        for path, reason in ((missing, "No such file or directory"), (latin, "not UTF-8"), (folder, "Is a directory")):
            line = str(self.assertRaises(SettingsError, read_text, path, "a list"))
            self.assertEqual(f"{path}: cannot be read as a list: {reason}", line)
