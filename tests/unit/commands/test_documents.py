"""Lines of JSON for scripts."""

from __future__ import annotations

import json

from twisted.trial.unittest import SynchronousTestCase

from provider_gateway.commands.documents import line


class LineTests(SynchronousTestCase):
    """A document is one line of printable ASCII, and says the same."""

    def test_printable(self) -> None:
        """Letters, control characters, DEL and line ends of Unicode are escaped; all lines are of one form."""
        for text in ("plain", "größer", "\x1b[31m\n", "a\x7fb", "\u2028\U0001f600", '"\\'):
            with self.subTest(text=text):
                written = line({"text": text, "size": 1, "none": None, "list": [True, 0.5]})
                self.assertTrue(written.endswith("}\n"))
                self.assertTrue(written[:-1].isprintable() and written.isascii())
                self.assertEqual(json.loads(written)["text"], text)
                self.assertIn(',"size":1,"none":null,"list":[true,0.5]}', written)
