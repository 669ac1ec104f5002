"""Bodies of all kinds, byte for byte from real clients through a real broker to the model, and back."""

from __future__ import annotations

import gzip
import json
import random
from typing import TYPE_CHECKING, Any, ClassVar

import pika

from tests.support.integration import IntegrationTestCase
from tests.support.rabbitmq import delete_result_objects, take

if TYPE_CHECKING:
    from tests.support.processes import Gateway

#: Not a picture, but what is typical of one: its first and last bytes, and everything in between.
JPEG = b"\xff\xd8\xff\xe0\x00\x10JFIF\x00" + random.Random(17).randbytes(5_000_000) + b"\xff\xd9"


class BodiesTests(IntegrationTestCase):
    """One process with both roles, whose entry takes several types, and gzip. The model sends bodies back."""

    keys: ClassVar[dict[str, Any]] = {
        "accept": ["application/json", "image/*", "multipart/form-data", "text/*"],
        "acceptEncoding": ["gzip"],
    }

    async def gateway(self, **variables: str) -> Gateway:
        """The process."""
        return await self.start(entries=[self.entry(**self.keys)], **variables).ready()

    def model_sends(self, content_type: str, **headers: str) -> None:
        """Have the model send each body back as it came, with these headers."""
        sent = {"Content-Type": content_type, **{name.replace("_", "-"): value for name, value in headers.items()}}
        self.model.answer = lambda body: (200, body, sent)

    async def upload(self, gateway: Gateway, *arguments: str) -> tuple[str, bytes]:
        """POST with real curl; returns its status and content type, and the body that it has written to a file."""
        output = self.folder / "output"
        output.unlink(missing_ok=True)
        _, line, errors = await self.curl(
            "-w", "%{http_code} %{content_type}", "-o", str(output.resolve()), "-H", "routing-key: predict.now",
            *arguments, f"https://127.0.0.1:{await gateway.port('https')}/v1/predict",
        )  # fmt: skip
        self.assertEqual(errors, "")
        return line, output.read_bytes()

    def file(self, content: bytes, name: str = "input.jpg") -> str:
        """A file for curl."""
        path = self.folder / name
        path.write_bytes(content)
        return str(path.resolve())

    async def test_image_over_http(self) -> None:
        """A JPEG of 5 MB reaches the model and comes back, byte for byte: with a length, and in chunks."""
        gateway = await self.gateway()
        self.model_sends("image/jpeg")
        for framing in ((), ("-H", "Transfer-Encoding: chunked")):
            upload = ("-H", "Content-Type: image/jpeg", *framing, "--data-binary", f"@{self.file(JPEG)}")
            line, body = await self.upload(gateway, *upload)
            self.assertEqual(line, "200 image/jpeg")
            self.assertTrue(body == JPEG)
            received, headers = self.model.requests[-1]
            self.assertTrue(received == JPEG)
            self.assertEqual(headers["content-type"], "image/jpeg")

    async def test_image_over_amqp(self) -> None:
        """A program with plain pika sends a JPEG of 5 MB and gets it back, byte for byte; it need not be in accept."""
        await self.start("--role", "provider").ready()
        self.model_sends("image/jpeg")

        def ask(channel: Any) -> Any:
            properties = pika.BasicProperties(content_type="image/jpeg", correlation_id="c")
            channel.basic_publish(self.exchange, "predict.now", JPEG, properties, mandatory=True)
            return take(channel, self.output)

        [(properties, body)] = await self.on_channel(ask)
        self.assertTrue(body == JPEG)
        self.assertEqual((properties.content_type, properties.content_encoding), ("image/jpeg", None))
        received, headers = self.model.requests[-1]
        self.assertTrue(received == JPEG)
        self.assertEqual(headers["content-type"], "image/jpeg")

    async def test_form(self) -> None:
        """A form of curl's with a file in it reaches the model as curl has written it, boundary included."""
        gateway = await self.gateway()
        self.model_sends("text/plain; charset=ISO-8859-1")
        line, body = await self.upload(gateway, "-F", f"image=@{self.file(JPEG[:300_000])}", "-F", 'meta={"a": 1}')
        self.assertEqual(line, "200 text/plain; charset=ISO-8859-1")
        received, headers = self.model.requests[-1]
        media_type, _, boundary = headers["content-type"].partition("; boundary=")
        self.assertEqual(media_type, "multipart/form-data")
        self.assertTrue(received.startswith(f"--{boundary}\r\n".encode()))
        self.assertTrue(received.endswith(f"\r\n--{boundary}--\r\n".encode()))
        self.assertIn(JPEG[:300_000], received)
        self.assertTrue(body == received)

    async def test_coded(self) -> None:
        """A body with gzip travels as it is, its header with it. A caller that takes gzip gets it from the model."""
        gateway = await self.gateway()
        coded = gzip.compress(JPEG[:100_000] + bytes(100_000))
        upload = ("-H", "Content-Type: image/png", "-H", "Content-Encoding: gzip")
        data = ("--data-binary", f"@{self.file(coded, 'input.gz')}")
        self.model_sends("image/png", Content_Encoding="gzip")
        line, body = await self.upload(gateway, *upload, "--compressed", *data)
        self.assertEqual(line, "200 image/png")
        self.assertEqual(gzip.decompress(coded), body)  # by curl
        received, headers = self.model.requests[-1]
        self.assertEqual((received, headers["content-encoding"]), (coded, "gzip"))
        self.assertIn("gzip", headers["accept-encoding"])
        line, body = await self.upload(gateway, *upload, *data)  # without Accept-Encoding: nobody has asked for it
        self.assertEqual((line, json.loads(body)["title"]), ("502 application/problem+json", "The model failed"))
        self.assertIn("not asked for", json.loads(body)["detail"])

    async def test_coded_over_amqp(self) -> None:
        """A program with pika asks for gzip: the reply has it, and the property that says so."""
        await self.start("--role", "provider").ready()
        coded = gzip.compress(b"[1]")
        self.model.answer = lambda _: (200, coded, {"Content-Encoding": "gzip"})

        def ask(channel: Any) -> Any:
            properties = pika.BasicProperties(content_encoding="gzip", headers={"pg-accept-encoding": "gzip"})
            channel.basic_publish(self.exchange, "predict.now", coded, properties, mandatory=True)
            return take(channel, self.output)

        [(properties, body)] = await self.on_channel(ask)
        self.assertEqual((body, properties.content_encoding, properties.headers["pg-status"]), (coded, "gzip", 200))
        received, headers = self.model.requests[-1]
        self.assertEqual((received, headers["content-encoding"]), (coded, "gzip"))

    async def test_refused(self) -> None:
        """What the entry does not take gets 415, which lists what it does; JSON with a suffix is JSON."""
        gateway = await self.gateway()
        url = f"https://127.0.0.1:{await gateway.port('https')}/v1/predict"
        for given, status, accepted in (
            ("Content-Type: audio/wav", 415, "Accept: application/json, image/*, multipart/form-data, text/*"),
            ("Content-Encoding: br", 415, "Accept-Encoding: gzip, identity"),
            ("Content-Type: application/vnd.x+json", 422, ""),
        ):
            usual = () if given.startswith("Content-Type") else ("-H", "Content-Type: text/plain")
            _, output, _ = await self.curl("-i", "-H", "routing-key: predict.now", "-H", given, *usual, "-d", "{", url)
            self.assertIn(f" {status} ", output)
            self.assertIn(accepted, output)
        self.assertEqual(self.model.requests, [])

    async def test_kept(self) -> None:
        """An image whose caller does not wait is kept with its type and coding, and fetched with them."""
        self.addCleanup(self.on_channel, lambda channel: delete_result_objects(channel, self.output))
        gateway = await self.gateway(RESULT_STORE=f"sqlite://{(self.folder / 'results.db').resolve()}")
        coded = gzip.compress(JPEG[:100_000])
        self.model_sends("image/jpeg", Content_Encoding="gzip")
        url = f"https://localhost:{await gateway.port('https')}"
        sent = {
            "Content-Type": "image/jpeg", "Content-Encoding": "gzip", "routing-key": "predict.now",
            "Prefer": "respond-async", "Accept-Encoding": "gzip", "Idempotency-Key": "k",
        }  # fmt: skip
        locations = set()
        for body, status in ((coded, 202), (coded, 200), (coded + b" ", 422)):
            response = await self.client.post(f"{url}/v1/predict", data=body, headers=sent, unbuffered=True)
            self.assertEqual((response.code, await response.content() == JPEG[:100_000]), (status, status == 200))
            if status == 202:
                (location,) = response.headers.getRawHeaders("Location")
                locations.add(location)
                result = f"{url}{location}/result"
                response = await self.client.get(result, headers={"Prefer": "wait=20"})  # treq asks for gzip
                self.assertEqual((response.code, await response.content() == JPEG[:100_000]), (200, True))
                self.assertEqual(response.headers.getRawHeaders("Content-Type"), ["image/jpeg"])
        _, output, _ = await self.curl("-H", "Accept-Encoding: br", f"{url}{locations.pop()}/result")
        self.assertIn("which your Accept-Encoding does not allow", output)
