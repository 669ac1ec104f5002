"""The constraints that `make test-versions` makes of setup.py's lower bounds."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from devtools.lowest_versions import SETUP, lowest, requirements


class LowestVersionsTests(SynchronousTestCase):
    """Requirements as constraints."""

    def test_forms(self) -> None:
        """A constraint has the name without extras, and the lower bound."""
        for requirement, constraint in (
            ("msgspec>=0.19", "msgspec==0.19"),
            ("pika>=1.4.1,<1.5", "pika==1.4.1"),
            ("twisted[tls]>=26.4,<26.11", "twisted==26.4"),
        ):
            self.assertEqual(constraint, lowest(requirement))

    def test_other_forms(self) -> None:
        """A requirement without a lower bound, or of another form, is an error that names it."""
        for requirement in ("pika", "pika<1.5", "pika==1.4.1", "pika>=1.4,!=1.4.2", "pika>=1.4; python_version<'3'"):
            with self.assertRaisesRegex(ValueError, "setup.py: pika"):
                lowest(requirement)

    def test_setup(self) -> None:
        """Every requirement of setup.py has a lower bound, also those of the extras."""
        constraints = [lowest(each) for each in requirements(SETUP.read_text(encoding="utf-8"))]
        names = [each.partition("==")[0] for each in constraints]
        self.assertIn("twisted", names)
        self.assertIn("psycopg", names)
        self.assertIn("grpcio", names)
