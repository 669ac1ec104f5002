"""Declared types of bodies: every spelling of JSON is read, and of other types those that the entry accepts."""

from __future__ import annotations

from typing import ClassVar

from provider_gateway.config.limits import Limits
from provider_gateway.gateway.json_body import LARGE
from provider_gateway.http_server.site import GatewaySite
from provider_gateway.message.message import Message
from tests.support.api import KEY, APITestCase

BYTES = bytes(range(256))


class MediaTypeTests(APITestCase):
    """Requests with all kinds of Content-Type and Content-Encoding."""

    max_in_flight = 100

    def test_json(self) -> None:
        """JSON, in any case, with parameters, and with UTF-8 or its part US-ASCII as charset, in each spelling."""
        for parameters in (
            "", ";", "; ", ";;", "; charset=utf-8", ";charset=UTF-8", "; charset=utf8", "; charset=UTF8",
            '; charset="utf-8"', '; Charset="UTF8"', "; charset=us-ascii", "; charset=ascii", "; charset=",
            '; charset=""', "; charset = utf-8", "; charset=utf-8; charset=utf-8", "; charset=utf-8;",
            "; version=1; charset=utf8",
            '; profile="a;charset=latin1"', '; profile="a\\";charset=latin1"', "; nonsense", "; charsets=latin1",
        ):  # fmt: skip
            for name in ("application/json", "Application/JSON"):
                calls = len(self.rpc.calls)
                self.post(KEY, f"Content-Type: {name}{parameters}")
                self.assertEqual(len(self.rpc.calls), calls + 1, parameters)

    def test_others(self) -> None:
        """Another type or charset, also as the second of two, or none, is answered with 415."""
        for given in (
            "", "text/json", "application/jsonp", "application/json,text/plain", "application/json; charset=latin1",
            "application/json; charset=utf-16", "application/json; charset=utf-8; charset=iso-8859-1",
            'application/json; charset="utf-16"', "application/json; a=b;CHARSET=cp1252", "; charset=utf-8",
            "application/json\r\nContent-Type: text/plain", 'application/json; a="b; charset=latin1',
        ):  # fmt: skip
            self.assert_problem(self.post(KEY, f"Content-Type: {given}"), 415, "unsupported-media-type")
        self.assertEqual(self.rpc.calls, [])

    def test_no_coding(self) -> None:
        """A Content-Encoding that names no coding is none."""
        for given in ("", "identity", "IDENTITY", " , ,", "identity, identity", "\r\nContent-Encoding: identity"):
            calls = len(self.rpc.calls)
            self.post(KEY, f"Content-Encoding: {given}")
            self.assertEqual(len(self.rpc.calls), calls + 1, given)

    def test_coding(self) -> None:
        """A coding is answered with 415, in any spelling, and wherever it stands."""
        for given in ("gzip", "GZIP", "x-gzip", "identity, br", "utf-8", "identity\r\nContent-Encoding: gzip"):
            detail = self.assert_problem(self.post(KEY, f"Content-Encoding: {given}"), 415).problem["detail"]
            self.assertIn("send the body as it is", detail)
        self.assertEqual(self.rpc.calls, [])

    def test_says_what_is_accepted(self) -> None:
        """A 415 lists the media types that are accepted, or the codings (RFC 9110, 15.5.16)."""
        for given, name, accepted in (
            ("Content-Type: image/png", "accept", "application/json"),
            ("Content-Type: application/json; charset=latin1", "accept", "application/json"),
            ("Content-Encoding: gzip", "accept-encoding", "identity"),
        ):
            headers = self.assert_problem(self.post(KEY, given), 415).headers
            self.assertEqual({each: headers.get(each) for each in ("accept", "accept-encoding")}[name], accepted)
            self.assertEqual(len({"accept", "accept-encoding"} & headers.keys()), 1, given)


class JSONBySuffixTests(APITestCase):
    """Types that are JSON by their suffix, on an entry without ``accept``."""

    max_in_flight = 100

    def test_taken(self) -> None:
        """They are JSON in any case and with parameters, and travel as they are spelled."""
        for given in (
            "application/vnd.x+json", "application/ld+JSON", "model/gltf+json", "application/problem+json;charset=utf8",
            'application/ld+json; profile="http://x/y;z"', "application/a+b+json ; charset=\"UTF-8\"",
        ):  # fmt: skip
            self.post(KEY, f"Content-Type: {given}")
            message = self.rpc.calls[-1][0]
            self.assertEqual((message.content_type, message.headers["Content-Type"]), (given, given))

    def test_plain(self) -> None:
        """Plain JSON travels without its charset. With other parameters it travels as it is spelled."""
        for given, travels in (
            ("Application/JSON", "application/json"), ("application/json; charset=UTF8", "application/json"),
            ("application/json; format=pandas-split", None), ("application/json; x=\xe4", "application/json"),
        ):  # fmt: skip
            self.post(KEY, f"Content-Type: {given}")
            self.assertEqual(self.rpc.calls[-1][0].content_type, travels or given)

    def test_checked(self) -> None:
        """Their bodies are checked as JSON is, whatever their size, and so is their charset."""
        for body in (b"{", b"", b'"\xff"', b"[" * 200 + b"]" * 200, b"NaN"):
            self.assert_problem(self.post(KEY, "Content-Type: application/x+json", body=body), 422, "invalid-json")
        for charset in ("latin1", '"utf-16"', "utf-8; charset=cp1252"):
            response = self.post(KEY, f"Content-Type: application/x+json; charset={charset}")
            self.assertIn("JSON is UTF-8", self.assert_problem(response, 415).problem["detail"])

    def test_others(self) -> None:
        """What only looks like them is another type."""
        for given in (
            "application/json+zip", "application/jsonx", "application/+jsonp", "+json", "/+json", "application/ +json",
            "application/x+json, application/json", "application/x+json\r\nContent-Type: application/y+json",
            "application/*+json", "application/x+json; a=\xe4", f"application/x+json; a={'b' * 255}",
        ):  # fmt: skip
            self.assert_problem(self.post(KEY, f"Content-Type: {given}"), 415, "unsupported-media-type")
        self.assertEqual(self.rpc.calls, [])


class AcceptTestCase(APITestCase):
    """Entries with ``accept``."""

    max_in_flight = 100

    def taken(self, *headers: str, body: bytes = BYTES) -> Message:
        """The message of a request."""
        calls = len(self.rpc.calls)
        client = self.post(KEY, *headers, body=body)
        self.assertEqual(len(self.rpc.calls), calls + 1, (headers, client.value()))
        message = self.rpc.calls[-1][0]
        self.assertEqual(Message.received(message.properties(), message.body).body, body)
        return message


class AcceptTests(AcceptTestCase):
    """An entry that takes JSON, all images, plain text and forms."""

    keys: ClassVar = {"accept": ["application/json", "image/*", "text/plain", "multipart/form-data"]}

    def test_taken(self) -> None:
        """These types are taken in any case. The body and the Content-Type, parameters included, stay as they are."""
        for given in (
            "image/jpeg", "IMAGE/PNG", "image/svg+xml", "text/plain; charset=ISO-8859-1", "Text/Plain",
            "multipart/form-data; boundary=----WebKitFormBoundaryAb12", "multipart/form-data;boundary=\"a b'()+,=?\"",
            "multipart/form-data; charset=utf-16; boundary=x", "text/plain; format=flowed ;delsp=yes",
        ):  # fmt: skip
            message = self.taken(f"Content-Type: {given}")
            self.assertEqual((message.content_type, message.headers["Content-Type"]), (given, given))
            self.assertEqual(message.content_encoding, None)

    def test_json(self) -> None:
        """JSON is still checked, and the rest is not: it may be empty, or deeply nested."""
        self.assert_problem(self.post(KEY, body=b"{"), 422, "invalid-json")
        self.taken("Content-Type: image/x+json", body=b"{}")
        self.assert_problem(self.post(KEY, "Content-Type: image/x+json", body=b"{"), 422, "invalid-json")
        for body in (b"", b"{", b"[" * 1000):
            self.taken("Content-Type: text/plain", body=body)

    def test_large(self) -> None:
        """A large body that is not JSON is taken at once. Large JSON is checked in turns."""
        limits = Limits(max_body_bytes=2 * LARGE)
        self.site = GatewaySite(self.api.app.resource(), self.clock, limits, wall_clock=self.clock.seconds)
        self.taken("Content-Type: image/jpeg", body=BYTES * 5000)
        client = self.post(KEY, "Content-Type: image/x+json", body=b"[" + b" " * LARGE)
        self.assertEqual((len(self.rpc.calls), client.value()), (1, b""))
        self.clock.pump([0] * 1000)
        self.assert_problem(client, 422, "invalid-json")

    def test_not_taken(self) -> None:
        """Other types get a 415 that lists these, and so do several types, malformed ones, and ranges."""
        for given in (
            "text/html", "application/octet-stream", "audio/wav", "multipart/mixed; boundary=a", "imagejpeg", "image/",
            "image/*", "*/*", "image/png, image/png", "image/png\r\nContent-Type: image/jpeg", "", "image/a b",
            "image/png\r\nContent-Type: application/json", "text/plain; a=\xff", f"text/plain; a={'b' * 255}",
        ):  # fmt: skip
            response = self.assert_problem(self.post(KEY, f"Content-Type: {given}"), 415, "unsupported-media-type")
            self.assertEqual(response.headers["accept"], "application/json, image/*, text/plain, multipart/form-data")
        detail = self.assert_problem(self.post(KEY, "Content-Type: text/html"), 415).problem["detail"]
        accepted = "application/json or image/* or text/plain or multipart/form-data"
        self.assertEqual(detail, f"Expected Content-Type: {accepted}, found 'text/html'.")

    def test_twice(self) -> None:
        """The same Content-Type twice is one."""
        self.taken("Content-Type: image/png\r\nContent-Type: image/png")

    def test_publish(self) -> None:
        """``/v1/publish`` takes the same."""
        self.post(KEY, "Content-Type: image/png", body=BYTES, path="/v1/publish")
        ((message, *_),) = self.publisher.published
        self.assertEqual((message.body, message.content_type), (BYTES, "image/png"))
        self.assert_problem(self.post(KEY, "Content-Type: text/html", path="/v1/publish"), 415)


class OnlyOthersTests(AcceptTestCase):
    """An entry that does not take JSON."""

    keys: ClassVar = {"accept": ["application/octet-stream"]}

    def test_json(self) -> None:
        """JSON gets 415, in each spelling."""
        for given in ("application/json", "application/json; charset=utf-8", "application/x+json"):
            self.assertEqual(
                self.assert_problem(self.post(KEY, f"Content-Type: {given}"), 415).headers["accept"],
                "application/octet-stream",
            )

    def test_no_type(self) -> None:
        """A body without a type is of the type of all bodies (RFC 9110, 8.3), which is what the model is told."""
        for given in ("Content-Type:", "Content-Type: "):
            self.assertEqual(self.taken(given).content_type, "application/octet-stream")


class AnythingTests(AcceptTestCase):
    """An entry that takes everything."""

    keys: ClassVar = {"accept": ["*/*"]}

    def test_taken(self) -> None:
        """Every type is taken, and JSON is checked."""
        for given in ("a/b", "text/html; charset=latin1", "application/x-protobuf"):
            self.assertEqual(self.taken(f"Content-Type: {given}").content_type, given)
        self.assert_problem(self.post(KEY, body=b"{"), 422)
        self.assert_problem(self.post(KEY, "Content-Type: application/x+json", body=b"{"), 422)
        self.taken(body=b"{}")


class OneTypeTests(AcceptTestCase):
    """An entry that takes one type which is JSON by its suffix."""

    keys: ClassVar = {"accept": ["application/ld+json"]}

    def test_taken(self) -> None:
        """It is taken and checked; JSON of other types is not taken."""
        self.taken("Content-Type: application/ld+json", body=b"{}")
        self.assert_problem(self.post(KEY, "Content-Type: application/ld+json", body=b"{"), 422)
        for given in ("application/json", "application/x+json"):
            self.assert_problem(self.post(KEY, f"Content-Type: {given}"), 415)


class SeveralQueuesTests(AcceptTestCase):
    """Two queues that get the same messages, one with another key, and one of another exchange."""

    keys: ClassVar = {"accept": ["image/*", "text/plain"], "acceptEncoding": ["gzip", "br"]}
    others: ClassVar = (
        {
            "topic": "ML.MQ", "queueName": "copy", "bindingKey": "predict.now", "accept": ["image/png", "text/plain"],
            "acceptEncoding": ["zstd", "gzip"],
        },
        {"topic": "ML.MQ", "queueName": "b", "bindingKey": "other.#", "accept": ["audio/*"]},
        {"topic": "ML.OTHER", "queueName": "c", "bindingKey": "predict.#"},
    )  # fmt: skip

    def test_all(self) -> None:
        """A body is taken if each queue that gets it takes it; queues of other keys and exchanges do not matter."""
        self.taken("Content-Type: image/png")
        self.taken("Content-Type: image/png", "Content-Encoding: gzip")
        for given in ("Content-Type: image/jpeg", "Content-Type: audio/wav", "Content-Type: application/json"):
            headers = self.assert_problem(self.post(KEY, given), 415).headers
            self.assertEqual(headers["accept"], "text/plain, image/png")
        response = self.assert_problem(self.post(KEY, "Content-Type: image/png", "Content-Encoding: br"), 415)
        self.assertEqual(response.headers["accept-encoding"], "gzip, identity")

    def test_others(self) -> None:
        """Another key is another entry's. A key that no entry knows takes JSON: the broker decides."""
        for key, given in (("predict.later", "image/jpeg"), ("other.x", "audio/wav"), ("c.d", "application/json")):
            self.post(f"routing-key: {key}", f"Content-Type: {given}")
            self.assertEqual(self.rpc.calls[-1][2], key)
        self.assert_problem(self.post("routing-key: c.d", "Content-Type: image/png"), 415)


class CodedTests(AcceptTestCase):
    """An entry with ``acceptEncoding``."""

    keys: ClassVar = {"accept": ["application/json", "image/*"], "acceptEncoding": ["gzip", "zstd"]}

    def test_passed_on(self) -> None:
        """A coding travels as it is spelled, as property and as header, and the body as it is: JSON is not checked."""
        for given, travels in (
            ("gzip", "gzip"), ("GZip", "GZip"), ("x-gzip", "x-gzip"), ("zstd, gzip", "zstd, gzip"),
            ("identity, gzip", "gzip"), ("gzip\r\nContent-Encoding: zstd", "gzip, zstd"), (" ,gzip,,", "gzip"),
        ):  # fmt: skip
            for kind in ("application/json", "image/png", "application/json; charset=utf8", "application/x+json"):
                message = self.taken(f"Content-Encoding: {given}", f"Content-Type: {kind}", body=b"\x1f\x8b{")
                coded = (message.content_encoding, message.headers["Content-Encoding"], message.content_coding())
                self.assertEqual(coded, (travels, travels, travels))

    def test_none(self) -> None:
        """Without a coding JSON is checked, and no coding travels."""
        for given in ("identity", "", ","):
            self.assertEqual(self.taken(f"Content-Encoding: {given}", body=b"{}").content_encoding, None)
            self.assert_problem(self.post(KEY, f"Content-Encoding: {given}", body=b"{"), 422)

    def test_others(self) -> None:
        """Another coding gets a 415 that lists these, also beside one of them, and so does a list without an end."""
        for given in ("br", "gzip, br", "deflate", "gzip;q=1", "gz ip", "*", "\xff", ",".join(["gzip"] * 60)):
            response = self.assert_problem(self.post(KEY, f"Content-Encoding: {given}"), 415, "unsupported-media-type")
            self.assertEqual(response.headers["accept-encoding"], "gzip, zstd, identity")
            self.assertIn("send the body as it is, or with gzip or zstd", response.problem["detail"])
        self.assertEqual(self.rpc.calls, [])

    def test_type_and_charset(self) -> None:
        """The type of a coded body is that of its content: others get 415, and so does JSON in another charset."""
        for given in ("text/plain", "application/gzip", "application/json; charset=utf-16"):
            response = self.assert_problem(self.post(KEY, f"Content-Type: {given}", "Content-Encoding: gzip"), 415)
            self.assertIn("accept", response.headers)

    def test_reply(self) -> None:
        """The message asks for those codings that the entry has and the caller names. Not if no reply comes here."""
        for accepted, asked in (
            ("gzip, deflate, br, zstd", "gzip, zstd"), ("x-gzip", "gzip"), ("*", "gzip, zstd"), ("br", None),
            ("gzip;q=0, *", "zstd"), ("identity", None), ("", None), (f"zstd, {'x' * 300}", "zstd"),
        ):  # fmt: skip
            message = self.taken(f"Accept-Encoding: {accepted}", body=b"{}")
            self.assertEqual(message.headers.get("pg-accept-encoding"), asked, accepted)
        self.assertNotIn("pg-accept-encoding", self.taken(body=b"{}").headers)
        self.post(KEY, "Accept-Encoding: gzip", path="/v1/publish")
        ((message, *_),) = self.publisher.published
        self.assertNotIn("pg-accept-encoding", message.headers)
