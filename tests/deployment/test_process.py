"""The stand-in for ``oc process`` does what OpenShift's documentation describes."""

from __future__ import annotations

from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from tests.deployment.process import ProcessError, process, read_parameters


def template(value: Any, *parameters: dict[str, Any], **more: Any) -> dict[str, Any]:
    """A template with one object that has one field."""
    thing = {"kind": "ConfigMap", "metadata": {"name": "a"}, "data": value}
    return {"objects": [thing], "parameters": list(parameters), **more}


class ProcessTests(SynchronousTestCase):
    """Parameters in templates."""

    def result(self, value: Any, *parameters: dict[str, Any], given: dict[str, str] | None = None) -> Any:
        """The value of a field after processing."""
        return process(template(value, *parameters), given or {})["items"][0]["data"]

    def test_text(self) -> None:
        """``${NAME}`` is replaced several times and within a text; a number stays text."""
        self.assertEqual(self.result("${A}/x/${A}", {"name": "A"}, given={"A": "1"}), "1/x/1")
        self.assertEqual(self.result("${A}", {"name": "A"}, given={"A": "1"}), "1")

    def test_keys_and_lists(self) -> None:
        """References in keys and in items of lists are replaced as well."""
        self.assertEqual(self.result({"${A}": ["${A}"]}, {"name": "A"}, given={"A": "x"}), {"x": ["x"]})

    def test_whole_value(self) -> None:
        """``${{NAME}}`` becomes a number, a truth value or a list; text that is none of these stays text."""
        for text, value in (("3", 3), ("true", True), ("[1]", [1]), ("x", "x")):
            self.assertEqual(self.result("${{A}}", {"name": "A"}, given={"A": text}), value)

    def test_default(self) -> None:
        """Without a value, a parameter has its default."""
        parameter = {"name": "A", "value": "x"}
        self.assertEqual(self.result("${A}", parameter), "x")
        self.assertEqual(self.result("${A}", parameter, given={"A": "y"}), "y")

    def test_required(self) -> None:
        """A required parameter without a value, or with an empty one, is an error."""
        parameter = {"name": "A", "required": True}
        self.assertRaises(ProcessError, self.result, "${A}", parameter)
        self.assertRaises(ProcessError, self.result, "${A}", parameter, given={"A": ""})
        self.assertEqual(self.result("${A}", parameter, given={"A": "x"}), "x")

    def test_unknown(self) -> None:
        """A value for an unknown parameter is an error, unless unknown parameters are ignored."""
        self.assertRaises(ProcessError, self.result, "x", given={"B": "1"})
        self.assertEqual(process(template("x"), {"B": "1"}, ignore_unknown=True)["items"][0]["data"], "x")

    def test_unknown_reference(self) -> None:
        """A reference to an unknown parameter is unchanged."""
        self.assertEqual(self.result("${B} ${{B}}"), "${B} ${{B}}")

    def test_generated(self) -> None:
        """Without a value, a new one is generated from the expression each time."""
        parameter = {"name": "A", "generate": "expression", "from": "x-[a-f0-9]{12}"}
        first, second = self.result("${A}", parameter), self.result("${A}", parameter)
        self.assertRegex(first, "^x-[a-f0-9]{12}$")
        self.assertNotEqual(first, second)
        self.assertEqual(self.result("${A}", parameter, given={"A": "y"}), "y")

    def test_labels(self) -> None:
        """The template's labels are added to every object, and the result is a list."""
        result = process(template("x", {"name": "A", "value": "b"}, labels={"a": "${A}"}), {})
        self.assertEqual(result["kind"], "List")
        self.assertEqual(result["items"][0]["metadata"]["labels"], {"a": "b"})


class ParameterFileTests(SynchronousTestCase):
    """NAME=value, line by line."""

    def test_lines(self) -> None:
        """Comments and empty lines are ignored; a value may be empty or contain an equals sign."""
        self.assertEqual(read_parameters("# a\n\nA=1\nB=\nC=x=y\n"), {"A": "1", "B": "", "C": "x=y"})

    def test_doubtful_lines(self) -> None:
        """Text that readers of such files read differently is an error: quotes, spaces, variables, repeated names."""
        for line in ('A="1"', "A = 1", "A=$B", "A", "A=1 # one", "A=1\nA=2"):
            self.assertRaises(ProcessError, read_parameters, line)
