"""Declared bodies: whatever a caller sends, what travels is as it was sent and fits HTTP and AMQP, and was accepted."""

from __future__ import annotations

import re
from fnmatch import fnmatchcase

from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from provider_gateway.config.queue_file import QueueEntry
from provider_gateway.content_codings import asked_for, canonical, codings_of
from provider_gateway.errors import UnsupportedMediaType
from provider_gateway.gateway.media_type import AcceptedBodies
from provider_gateway.message.message import Message
from tests.fuzz.profiles import fuzzed

_SAFE = re.compile(r"[\t -~]{1,255}")
_TYPES = (
    "application/json", "application/vnd.x+json", "image/png", "image/x+json", "text/plain", "multipart/form-data",
    "application/octet-stream", "model/gltf+json",
)  # fmt: skip
_CODINGS = ("gzip", "br", "zstd")
_tokens = st.text(st.sampled_from("abcXYZ019!#$%&'+.^_`|~-"), min_size=1, max_size=5)
_quoted = st.text(st.characters(min_codepoint=32, max_codepoint=126, exclude_characters='"\\'), max_size=8)
_parameters = st.lists(
    st.tuples(
        st.sampled_from(("; ", ";", " ;\t")),
        _tokens.filter(lambda name: name.lower() != "charset"),
        st.one_of(_tokens, _quoted.map(lambda text: f'"{text}"'), _quoted.map(lambda text: f'"\\"{text};\\\\"')),
    ),
    max_size=3,
)
_UTF_8 = st.sampled_from(("utf-8", "UTF-8", "utf8", "UTF8", '"utf-8"', '"UTF8"', "us-ascii", '"u\\tf-8"'))
_OTHER_CHARSETS = st.sampled_from(("latin1", "iso-8859-1", '"utf-16"', "utf-8x", "utf-7", '"utf-8\\""'))


#: A type, and anything in the place of its parameters.
_odd_types = st.builds(
    "{}{}{}".format, st.sampled_from(_TYPES), st.sampled_from(("", ";", "; a=", " ;charset=")),
    st.one_of(st.text(st.characters(max_codepoint=255), max_size=9), st.integers(200, 260).map("x".__mul__)),
).map(lambda text: text.encode("latin-1"))  # fmt: skip


def _cases(text: str) -> st.SearchStrategy[str]:
    return st.sampled_from((text, text.upper(), text.title()))


@st.composite
def _entries(draw: st.DrawFn) -> QueueEntry:
    """An entry with any accepted types and codings."""
    ranges = st.sampled_from((*_TYPES, "image/*", "application/*", "*/*"))
    accept = draw(st.lists(ranges, min_size=1, max_size=3))
    codings = draw(st.lists(st.sampled_from(_CODINGS), max_size=2))
    return QueueEntry.model_validate(
        {"topic": "t", "queueName": "q", "bindingKey": "k", "accept": accept, "acceptEncoding": codings}
    )


_ANY = QueueEntry.model_validate(
    {"topic": "t", "queueName": "q", "bindingKey": "k", "accept": "*/*", "acceptEncoding": list(_CODINGS)}
)


def _is_json(media_type: str) -> bool:
    return media_type == "application/json" or media_type.endswith("+json")


def _takes(entry: QueueEntry, media_type: str) -> bool:
    """What an entry's ``accept`` means, said in another way."""
    return any(fnmatchcase(media_type, each) for each in entry.accept) or (
        _is_json(media_type) and "application/json" in entry.accept
    )


class DeclaredBodiesTests(SynchronousTestCase):
    """Content-Type and Content-Encoding of requests, for queues that accept anything."""

    @fuzzed(
        400,
        entries=st.one_of(st.just([_ANY]), st.lists(_entries(), max_size=3)),
        types=st.lists(st.one_of(st.binary(max_size=40), _odd_types), max_size=2),
        codings=st.one_of(
            st.just([]),
            st.lists(st.one_of(st.binary(max_size=20), st.sampled_from(_CODINGS).map(str.encode)), max_size=3),
        ),
    )
    def test_anything(self, entries: list[QueueEntry], types: list[bytes], codings: list[bytes]) -> None:
        """Whatever the bytes: a 415 whose headers are well formed, or a body that is declared as it was sent."""
        bodies = AcceptedBodies(entries)
        headers = {b"Content-Type": types, b"Content-Encoding": codings}
        try:
            declared = bodies.declared({name: values for name, values in headers.items() if values})
        except UnsupportedMediaType as error:
            ((name, value),) = error.accepted.items()
            self.assertIn(name, ("Accept", "Accept-Encoding"))
            self.assertTrue(_SAFE.fullmatch(value), value)
            return
        self.assertTrue(_SAFE.fullmatch(declared.content_type), declared)
        usual = {"application/json", "application/octet-stream"}
        self.assertIn(declared.content_type, {each.decode("latin-1") for each in types} | usual)
        media_type = declared.content_type.partition(";")[0].strip(" \t").lower()
        self.assertTrue(all(_takes(entry, media_type) for entry in entries))
        self.assertEqual(declared.is_json, declared.coding is None and _is_json(media_type))
        if declared.coding is not None:
            named = codings_of(declared.coding)
            self.assertTrue(all(canonical(each) in entry.accept_encoding for entry in entries for each in named))
        message = Message(b"", {}, declared.content_type, content_encoding=declared.coding)
        received = Message.received(message.properties(), b"")
        self.assertEqual((received.content_type, received.content_coding()), (declared.content_type, declared.coding))

    @fuzzed(
        400,
        entry=_entries(),
        media_type=st.sampled_from(_TYPES).flatmap(_cases),
        parameters=_parameters,
        charset=st.one_of(st.none(), st.tuples(st.booleans(), _UTF_8), st.tuples(st.booleans(), _OTHER_CHARSETS)),
        utf_8=st.data(),
    )
    def test_types(
        self,
        entry: QueueEntry,
        media_type: str,
        parameters: list[tuple[str, str, str]],
        charset: tuple[bool, str] | None,
        utf_8: st.DataObject,
    ) -> None:
        """A valid type is taken if the entry takes it. Its parameters travel as they are; JSON has to be UTF-8."""
        parts = ["".join((before, name, "=", value)) for before, name, value in parameters]
        if charset is not None:
            is_first, value = charset
            parts.insert(0 if is_first else len(parts), f";{utf_8.draw(_cases('charset'))}={value}")
        sent = media_type + "".join(parts)
        lowered = media_type.lower()
        spells_utf_8 = charset is None or charset[1].replace("\\", "").strip('"').lower() in (
            "utf-8", "utf8", "us-ascii",
        )  # fmt: skip
        try:
            declared = AcceptedBodies([entry]).declared({b"Content-Type": [sent.encode()]})
        except UnsupportedMediaType:
            self.assertFalse(_takes(entry, lowered) and (spells_utf_8 or not _is_json(lowered)), sent)
            return
        self.assertTrue(_takes(entry, lowered), sent)
        self.assertTrue(spells_utf_8 or not _is_json(lowered), sent)
        is_plain = lowered == "application/json" and not parameters
        self.assertEqual(declared, ("application/json" if is_plain else sent, None, _is_json(lowered), None))

    @fuzzed(
        300,
        entry=_entries(),
        codings=st.lists(st.sampled_from((*_CODINGS, "identity", "", "x-gzip", "deflate")).flatmap(_cases), max_size=4),
        data=st.data(),
    )
    def test_codings(self, entry: QueueEntry, codings: list[str], data: st.DataObject) -> None:
        """Codings travel in their order and spelling if the entry has each; in one header or in several."""
        entry = entry.model_copy(update={"accept": ("application/json",)})
        cut = data.draw(st.integers(0, len(codings)))
        lines = [" , ".join(codings[:cut]).encode(), ",".join(codings[cut:]).encode()]
        real = [each for each in codings if each.lower() not in ("", "identity")]
        accepted = all(each.lower().removeprefix("x-") in entry.accept_encoding for each in real)
        try:
            declared = AcceptedBodies([entry]).declared(
                {b"Content-Type": [b"application/json"], b"Content-Encoding": lines}
            )
        except UnsupportedMediaType as error:
            self.assertFalse(accepted)
            self.assertEqual(error.accepted, {"Accept-Encoding": ", ".join((*entry.accept_encoding, "identity"))})
            return
        self.assertTrue(accepted)
        self.assertEqual(declared, ("application/json", ", ".join(real) or None, not real, None))

    @fuzzed(
        200,
        value=st.one_of(
            st.none(), st.integers(), st.binary(max_size=9), st.text(max_size=300),
            st.integers(0, 90).map(lambda count: ", ".join(f"c{each}" for each in range(count))),
        ),
    )  # fmt: skip
    def test_asked_for(self, value: object) -> None:
        """What a message asks for is a short list of tokens, each of which it names."""
        found = asked_for(value)
        self.assertLessEqual(sum(map(len, found)), 200)
        for coding in found:
            self.assertRegex(coding, r"\A[!-~]+\Z")
            self.assertNotIn(coding, ("identity", "*", "utf-8", "binary"))
            self.assertEqual(asked_for(coding), (coding,))
