"""Bodies as the page shows them."""

from __future__ import annotations

import gzip

from twisted.trial.unittest import SynchronousTestCase

from provider_gateway.workbench import bodies

PNG = b"\x89PNG\r\n\x1a\n\0\0\0\x0dIHDR"


class BodiesTests(SynchronousTestCase):
    """Which forms a body has, and what is shown."""

    def shown(self, body: bytes, wanted: str | None = None, coding: str | None = None) -> bodies.ShownBody:
        return bodies.show(body, coding, wanted)

    def test_json(self) -> None:
        """JSON is indented, and else as it is: large numbers, repeated names and escapes are not changed."""
        shown = self.shown(b'{"a":1e400,"a":12345678901234567890.10,"b":"\\u00e9"}')
        self.assertEqual(("json", ("json", "text", "hex")), (shown.form, shown.forms))
        self.assertEqual('{\n  "a": 1e400,\n  "a": 12345678901234567890.10,\n  "b": "\\u00e9"\n}', shown.text)

    def test_no_json(self) -> None:
        """What only looks like JSON, or is too deep to be indented, is text."""
        deep = b"[" * 5000 + b"]" * 5000
        wide = b"[" * 400 + b"1," * 100_000 + b"1" + b"]" * 400
        for body in (b"", b'{"a": ', b"[1,]", b"hello", deep, wide, b'["' + b"]" * 900 + b'",' + wide + b"]"):
            self.assertEqual("text", self.shown(body).form, body[:9])

    def test_hostile_text(self) -> None:
        """Nothing in a body is invisible, in JSON and text alike."""
        for form in ("json", "text"):
            self.assertIn("a\\u{202e}b", self.shown('"a\u202eb"'.encode(), form).text)

    def test_hex(self) -> None:
        """Any body can be shown in hexadecimal digits; one that is no text has no other form."""
        shown = self.shown(b"\xff\x00" + b"A" * 16)
        self.assertEqual(("hex", ("hex",)), (shown.form, shown.forms))
        self.assertEqual(
            "00000000  ff 00 41 41 41 41 41 41 41 41 41 41 41 41 41 41  ..AAAAAAAAAAAAAA\n"
            "00000010  41 41                                            AA",
            shown.text,
        )
        self.assertEqual("hex", self.shown(b"{}", "hex").form)

    def test_image(self) -> None:
        """An image is one by its first bytes, whatever the message says. SVG, which may hold script, is text."""
        webp = b"RIFF\0\0\0\0WEBPVP8 "
        for body in (PNG, b"\xff\xd8\xff\xe0", b"GIF89a", b"GIF87a", webp):
            self.assertEqual("image", self.shown(body).form)
        self.assertEqual(("text", "hex"), self.shown(b"<svg xmlns='http://www.w3.org/2000/svg'/>").forms)

    def test_form_that_it_has_not(self) -> None:
        """A form that the body has not, or that there is not, gives the best one."""
        for wanted in ("image", "json", "svg", "", None):
            self.assertEqual("text", self.shown(b"hello", wanted).form)

    def test_large(self) -> None:
        """Of a large body the beginning is shown, and how much that is, also if a character is cut."""
        for body in (b"a" * 1_000_000, "aé".encode() * 500_000, "é".encode() * 500_000):
            shown = self.shown(body)
            self.assertEqual(("text", 262_144), (shown.form, shown.shown))
            self.assertLessEqual(len(shown.text), 262_144)
        shown = self.shown(b"\xff" * 10_000)
        self.assertEqual((8192, 512), (shown.shown, len(shown.text.splitlines())))
        long = self.shown(b"[" + b"1," * 150_000 + b"1]")
        self.assertEqual(("json", 262_144), (long.form, long.shown))

    def test_compressed(self) -> None:
        """A gzip body is shown decompressed, up to the bytes that are shown; the page says so."""
        shown = self.shown(gzip.compress(b'{"a":1}'), coding="gzip")
        self.assertEqual(("json", '{\n  "a": 1\n}'), (shown.form, shown.text))
        self.assertIn("decompressed", shown.note)
        bomb = self.shown(gzip.compress(b"a" * 50_000_000), coding=" GZIP ")
        self.assertEqual(("text", 262_144), (bomb.form, bomb.shown))

    def test_other_codings(self) -> None:
        """A coding that we do not know, or that the body does not have, leaves the bytes."""
        for coding in ("br", "gzip", "gzip, gzip", ""):
            self.assertEqual(("hex",), self.shown(b"\x1f\x8bnot gzip\xff", coding=coding).forms)
