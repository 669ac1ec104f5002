"""The access file: allowed routing keys, rates, and errors for a wrong file."""

from __future__ import annotations

from pathlib import Path

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from provider_gateway.errors import Forbidden, RateLimited, SettingsError
from provider_gateway.security import access_rules
from provider_gateway.security.access_rules import AccessRules
from provider_gateway.security.identity import Identity

RULES = """
- {identities: [initiator, "*.clients.org"], routingKeys: ["predict.*", admin]}
- {identities: ["spiffe://a/b"], routingKeys: ["batch.#"]}
- {identities: ["*"], routingKeys: [public]}
"""


class AuthorizationTestCase(SynchronousTestCase):
    """Makes access files."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.clock.advance(1000)
        self.path = Path(self.mktemp())

    def load(self, text: str) -> AccessRules:
        self.path.write_text(text, encoding="utf-8")
        return AccessRules(self.path, self.clock)

    def limited(self, more: str) -> AccessRules:
        """One rule for all identities and routing keys, with a rate."""
        return self.load(f"- {{identities: ['*'], routingKeys: ['#'], {more}}}")

    def retry_after(self, rules: AccessRules, name: str = "a", key: str = "k") -> int | None:
        """None if the request passes; else the seconds after which the caller should try again."""
        try:
            rules.check(Identity((name,), 0), key)
        except RateLimited as error:
            return error.retry_after
        return None

    def passing(self, rules: AccessRules, name: str = "a", key: str = "k") -> int:
        """The number of requests that pass until the first one fails."""
        count = 0
        while self.retry_after(rules, name, key) is None:
            count += 1
            self.assertLess(count, 2000, "no limit")
        return count


class RulesTests(AuthorizationTestCase):
    """The rule that matches a request."""

    def test_rules(self) -> None:
        """A request passes only if a rule matches one of the identity's names and the routing key."""
        rules = self.load(RULES)
        for names, key, allowed in (
            (("initiator",), "predict.now", True),
            (("initiator",), "admin", True),
            (("initiator",), "public", True),
            (("initiator",), "predict.now.x", False),
            (("initiator",), "batch.a", False),
            (("a.clients.org",), "predict.now", True),
            (("clients.org",), "predict.now", False),
            (("nobody", "spiffe://a/b"), "batch", True),
            (("nobody", "spiffe://a/b"), "batch.a.b", True),
            (("nobody",), "public", True),
            ((), "public", False),
        ):
            identity = Identity(names, 0)
            if allowed:
                rules.check(identity, key)
            else:
                self.assertRaises(Forbidden, rules.check, identity, key)

    def test_forbidden(self) -> None:
        """The error names the identity and the routing key."""
        error = self.assertRaises(Forbidden, self.load(RULES).check, Identity(("nobody", "b"), 0), "predict.now")
        self.assertEqual("The certificate of 'nobody' may not use the routing key 'predict.now'.", error.detail)
        self.assertEqual(403, error.status)

    def test_empty_file(self) -> None:
        """A list without rules allows nothing."""
        self.assertRaises(Forbidden, self.load("[]").check, Identity(("a",), 0), "k")

    def test_first_rule_counts(self) -> None:
        """The first rule that matches decides the rate, even if a later one would allow more."""
        rules = self.load(
            "- {identities: [other], routingKeys: ['#'], rate: 50}\n"
            "- {identities: [a], routingKeys: [x], rate: 50}\n"
            "- {identities: [a], routingKeys: [k], rate: 2}\n"
            "- {identities: ['*'], routingKeys: ['#']}"
        )
        self.assertEqual(2, self.passing(rules))
        for _ in range(200):
            self.assertIsNone(self.retry_after(rules, "b"))


class ParkingTests(AuthorizationTestCase):
    """Rights on parking queues."""

    RULES = """
- {identities: [ann], parking: [read, replay, drop], queues: [fib, "a/b"]}
- {identities: ["*.ops.org"], routingKeys: [predict.now], rate: 1, parking: [read], queues: ["*"]}
- {identities: [ann, bob], parking: [replay], queues: [other, fib]}
- {identities: ["*"], routingKeys: [public]}
"""

    def test_rights(self) -> None:
        """An identity has what any of its rules gives, on the queues that they name; ``*`` is all queues."""
        rules = self.load(self.RULES)
        for names, expected in (
            (("ann",), {"fib": {"read", "replay", "drop"}, "a/b": {"read", "replay", "drop"}, "other": {"replay"}}),
            (("nobody", "bob"), {"other": {"replay"}, "fib": {"replay"}}),
            (("x.ops.org", "bob"), {"*": {"read"}, "other": {"replay"}, "fib": {"replay"}}),
            (("ops.org",), {}),
            (("Ann",), {}),
            ((), {}),
        ):
            self.assertEqual(rules.parking_rights(Identity(names, 0)), expected, names)

    def test_routing_keys(self) -> None:
        """A rule about parking queues alone lets nobody use a routing key."""
        rules = self.load(self.RULES)
        ann = Identity(("ann",), 0)
        self.assertRaises(Forbidden, rules.check, ann, "predict.now")
        self.assertFalse(rules.allow(ann, "predict.now"))
        rules.check(Identity(("x.ops.org",), 0), "predict.now")

    def test_open(self) -> None:
        """Parking queues are open to callers only if some rule gives somebody a right; a reload changes that."""
        rules = self.load(RULES)
        self.assertFalse(rules.open_parking)
        self.path.write_text(self.RULES, encoding="utf-8")
        rules.load()
        self.assertTrue(rules.open_parking)

    def test_wrong_rules(self) -> None:
        """Each mistake is an error of one line with the place."""
        rule = "- {identities: [a], %s}"
        for text, parts in (
            ("parking: [read]", ("[0]: parking and queues: expected both or neither",)),
            ("queues: [fib], routingKeys: [k]", ("[0]: parking and queues: expected both or neither",)),
            ("queues: [fib]", ("[0].routingKeys: is required and missing",)),
            ("parking: [write], queues: [fib]", ("[0].parking[0]: expected 'read', 'replay' or 'drop'",)),
            ("parking: read, queues: [fib]", ("[0].parking: expected", "'read'")),
            ("parking: [], queues: [fib]", ("[0].parking: expected at least one entry",)),
            ("parking: [read], queues: []", ("[0].queues: expected at least one entry",)),
            ("parking: [read], queues: ['']", ("[0].queues[0]: expected text that is not empty",)),
            ("parking: [read], queues: [fib], routingKeys: []", ("[0].routingKeys: expected at least one entry",)),
            ("parking: [read], queues: [fib], rate: 1", ("[0]: rate is of use with routingKeys only",)),
            ("routingKeys: null", ("[0]: routingKeys: expected a list",)),
        ):
            line = str(self.assertRaises(SettingsError, self.load, rule % text))
            self.assertTrue(line.startswith(f"HTTP_ACCESS: {self.path}:"), f"{text!r} gives {line!r}")
            self.assertNotIn("more)", line, f"one mistake in {text!r}")
            for part in parts:
                self.assertIn(part, line)


class RatesTests(AuthorizationTestCase):
    """Rates and bursts."""

    def test_burst(self) -> None:
        """At first a burst passes: ``burst`` requests, or else those of one second, at least one."""
        for more, expected in (("rate: 3", 3), ("rate: 0.1", 1), ("rate: 2.5", 2), ("rate: 1, burst: 7", 7)):
            self.assertEqual(expected, self.passing(self.limited(more)), more)

    def test_refill(self) -> None:
        """More requests pass as time goes by, at the rate, and up to the burst at once."""
        rules = self.limited("rate: 2, burst: 5")
        self.assertEqual(5, self.passing(rules))
        for seconds, expected in ((0.25, 0), (0.25, 1), (2, 4), (1000, 5)):
            self.clock.advance(seconds)
            self.assertEqual(expected, self.passing(rules), f"after {seconds} s")

    def test_refusals_cost_nothing(self) -> None:
        """Requests beyond the rate do not lengthen the wait."""
        rules = self.limited("rate: 1")
        self.passing(rules)
        for _ in range(10):
            self.retry_after(rules)
        self.clock.advance(1)
        self.assertEqual(1, self.passing(rules))

    def test_retry_after(self) -> None:
        """The error has the seconds after which a request passes, rounded up."""
        for more, waited, expected in (
            ("rate: 0.25", 0, 4),
            ("rate: 0.4", 0, 3),
            ("rate: 0.25", 0.5, 4),
            ("rate: 0.25", 3.5, 1),
            ("rate: 1000", 0, 1),
        ):
            rules = self.limited(more)
            self.passing(rules)
            self.clock.advance(waited)
            found = self.retry_after(rules)
            self.assertEqual(expected, found, f"{more}, after {waited} s")
            self.clock.advance(expected)
            self.assertIsNone(self.retry_after(rules), more)

    def test_detail(self) -> None:
        """The error names the identity and its rate."""
        rules = self.limited("rate: 0.5")
        self.passing(rules)
        error = self.assertRaises(RateLimited, rules.check, Identity(("a",), 0), "k")
        self.assertEqual((429, "'a' may send 0.5 requests per second."), (error.status, error.detail))

    def test_each_identity_has_its_own(self) -> None:
        """Each identity has a rate of its own; identities with the same first name share one."""
        rules = self.limited("rate: 2")
        self.assertEqual((2, 2), (self.passing(rules, "a"), self.passing(rules, "b")))
        self.assertRaises(RateLimited, rules.check, Identity(("a", "c"), 0), "k")

    def test_each_rule_has_its_own(self) -> None:
        """An identity has a rate of its own for each rule."""
        rule = "- {identities: [a], routingKeys: [%s], rate: 1}\n"
        rules = self.load(rule % "k" + rule % "x")
        self.assertEqual((1, 1), (self.passing(rules, key="k"), self.passing(rules, key="x")))

    def test_clock_that_is_set_back(self) -> None:
        """A clock that is set back does not change the tokens; afterwards time counts as usual."""
        rules = self.limited("rate: 1, burst: 3")
        self.retry_after(rules)
        self.clock.rightNow -= 500
        self.assertEqual(2, self.passing(rules))
        self.clock.advance(1)
        self.assertEqual(1, self.passing(rules))

    def test_many_identities(self) -> None:
        """With very many identities, those that may send a whole burst are forgotten, and no others."""
        self.patch(access_rules, "_MANY_BUCKETS", 3)
        rules = self.limited("rate: 1, burst: 2")
        self.retry_after(rules, "old")
        self.clock.advance(0.5)
        for _ in range(2):
            self.retry_after(rules, "busy")
        self.retry_after(rules, "third")
        self.clock.advance(0.5)
        self.retry_after(rules, "new")
        self.assertEqual({"busy", "third", "new"}, {name for _, name in rules._buckets})
        self.assertEqual((0, 1), (self.passing(rules, "busy"), self.passing(rules, "third")))


class LoadTests(AuthorizationTestCase):
    """Loading the file, at the start and again."""

    def test_changed_file(self) -> None:
        """New rules are in force once the file is loaded again, and rates begin anew."""
        rules = self.limited("rate: 1")
        self.assertEqual(1, self.passing(rules))
        self.path.write_text("- {identities: [a], routingKeys: ['#'], rate: 1}", encoding="utf-8")
        rules.check(Identity(("b",), 0), "k")
        rules.load()
        self.assertRaises(Forbidden, rules.check, Identity(("b",), 0), "k")
        self.assertEqual(1, self.passing(rules))
        rules.load()
        self.assertEqual(1, self.passing(rules))

    def test_broken_file(self) -> None:
        """If the file is wrong or missing, rules and rates stay as they were."""
        rules = self.limited("rate: 1")
        self.assertEqual(1, self.passing(rules))
        self.path.write_text("- {identities: [a]}", encoding="utf-8")
        self.assertRaises(SettingsError, rules.load)
        self.path.unlink()
        self.assertRaises(SettingsError, rules.load)
        self.assertEqual((0, 1), (self.passing(rules, "a"), self.passing(rules, "b")))

    def test_what_is_loaded(self) -> None:
        """The rules have a name for logs, and list their file."""
        rules = self.load(RULES)
        self.assertEqual(("access file", [self.path]), (rules.name, rules.files))

    def test_wrong_files(self) -> None:
        """Each mistake is an error of one line: the variable, the file, the place, what was expected."""
        rule = "- {identities: [a], routingKeys: [k], %s}"
        for text, parts in (
            ("", ("expected a list of access rules", "nothing")),
            ("a: 1", ("expected a list of access rules", "mapping")),
            ("- a", ("[0]: expected a valid dictionary", "'a'")),
            ("- {routingKeys: [k]}", ("[0].identities: is required and missing",)),
            ("- {identities: [a]}", ("[0].routingKeys: is required and missing",)),
            ("- {identities: [], routingKeys: [k]}", ("[0].identities: expected at least one entry",)),
            ("- {identities: [a], routingKeys: []}", ("[0].routingKeys: expected at least one entry",)),
            ("- {identities: [''], routingKeys: [k]}", ("[0].identities[0]: expected text that is not empty",)),
            ("- {identities: [a], routingKeys: [k, '']}", ("[0].routingKeys[1]: expected text that is not empty",)),
            ("- {identities: a, routingKeys: [k]}", ("[0].identities: expected", "'a'")),
            ("- {identities: [5], routingKeys: [k]}", ("[0].identities[0]: expected a valid string, found 5",)),
            ("- {identities: [a*], routingKeys: [k]}", ("[0]: 'a*': '*' may stand alone or before a dot",)),
            ("- {identities: ['*.*.a'], routingKeys: [k]}", ("[0]: '*.*.a'",)),
            ("- {identities: ['**'], routingKeys: [k]}", ("[0]: '**'",)),
            (rule % "rate: 0", ("[0].rate: expected greater than or equal to 0.001, found 0",)),
            (rule % "rate: -1", ("[0].rate", "found -1")),
            (rule % "rate: .inf", ("[0].rate",)),
            (rule % "rate: .nan", ("[0].rate",)),
            (rule % "rate: '5'", ("[0].rate: expected a valid number, found '5'",)),
            (rule % "rate: true", ("[0].rate",)),
            (rule % "rate: 1000001", ("[0].rate", "1000000")),
            (rule % "rate: 1, burst: 0", ("[0].burst", "greater than or equal to 1")),
            (rule % "rate: 1, burst: 1.5", ("[0].burst: expected a valid integer",)),
            (rule % "rate: 1, burst: 1000001", ("[0].burst", "1000000")),
            (rule % "burst: 5", ("[0]: burst is of use with rate only",)),
            (rule % "per: second", ("[0].per: unknown key",)),
            (rule % "rate: 1, rate: 2", ("line 1, column 48: expected YAML, the key 'rate' stands twice",)),
            ("- {identities: [a", ("line 1, column 18: expected YAML",)),
        ):
            line = str(self.assertRaises(SettingsError, self.load, text))
            self.assertTrue(line.startswith(f"HTTP_ACCESS: {self.path}:"), f"{text!r} gives {line!r}")
            self.assertNotIn("\n", line)
            self.assertNotIn("more)", line, f"one mistake in {text!r}")
            for part in parts:
                self.assertIn(part, line)

    def test_files_that_cannot_be_read(self) -> None:
        """A missing file, a folder and a file that is not text are errors of one line that names the path."""
        missing, folder, binary = (Path(self.mktemp()) for _ in range(3))
        folder.mkdir()
        binary.write_bytes(b"- {identities: [\xff]}")
        for path, reason in ((missing, "No such file or directory"), (folder, "Is a directory"), (binary, "not UTF-8")):
            line = str(self.assertRaises(SettingsError, AccessRules, path, self.clock))
            self.assertEqual(f"{path}: cannot be read as an access file (HTTP_ACCESS): {reason}", line)
