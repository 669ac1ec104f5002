"""What the demo prints: which model answers, and commands to try, for curl and for a program that speaks AMQP."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING

from provider_gateway.topology.routing import matching_key

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from provider_gateway.config.queue_file import QueueEntry
    from provider_gateway.config.settings import Settings

#: A body for the sample model.
BODY = '{"data": "[29, 29]"}'
JSON = "application/json"

_EXAMPLE = """\
    import pika
    channel = pika.BlockingConnection(pika.URLParameters("{url}")).channel()
    channel.basic_publish({exchange!r}, {key!r}, b'{body}')
    for _, properties, body in channel.consume({reply_to!r}, auto_ack=True):
        print(properties.headers["pg-status"], body)
        break"""
#: For an entry without ``replyTo``.
_EXAMPLE_WITHOUT_REPLY_TO = """\
    import pika
    channel = pika.BlockingConnection(pika.URLParameters("{url}")).channel()
    replies = channel.queue_declare("", exclusive=True).method.queue
    channel.basic_publish({exchange!r}, {key!r}, b'{body}', pika.BasicProperties(reply_to=replies))
    for _, properties, body in channel.consume(replies, auto_ack=True):
        print(properties.headers["pg-status"], body)
        break"""


def has_model(entry: QueueEntry) -> bool:
    """True if the entry names a model of its own."""
    return entry.model is not None and entry.model.url is not None


def is_given(settings: Settings) -> bool:
    """True if the user has named a model for all entries that name none."""
    return settings.model_url is not None or settings.model_host is not None


def models_text(entries: Sequence[QueueEntry], settings: Settings, *, is_sample: bool) -> str:
    """The first lines: which model serves which queue.

    Args:
        is_sample: the sample model serves the entries that name none.
    """
    lines = [
        f"Model of queue {entry.queue_name!r}: {entry.model.url}, as the queue file says"
        for entry in entries
        if entry.model is not None and entry.model.url is not None
    ]
    if all(map(has_model, entries)):
        return "\n".join(lines)
    what = "Model of other queues" if lines else "Model"
    if is_sample:
        ignored = sorted({"model_port", "model_path"} & settings.model_fields_set)
        alone = f", and {' and '.join(ignored).upper()} alone is no address" if ignored else ""
        return "\n".join([*lines, f"{what}: the sample model. There is no MODEL_URL or MODEL_HOST{alone}"])
    named = "MODEL_URL says" if settings.model_url is not None else "MODEL_HOST, MODEL_PORT and MODEL_PATH say"
    return "\n".join([*lines, f"{what}: {settings.effective_model_url}, as {named}. The sample model is not used"])


class Examples:
    """The commands for one entry of the queue file.

    Args:
        url: of ``/v1/predict``.
        certs: the folder of certificates.
    """

    def __init__(self, entry: QueueEntry, url: str, certs: Path) -> None:
        self._entry = entry
        self._url = url
        self.key = matching_key(entry) or "any"  # a fanout exchange takes every key
        self.headers = {"Content-Type": self._content_type(entry), "routing-key": self.key}
        self._login = ["curl", "--cacert", f"{certs}/cacert.pem", "--cert", f"{certs}/client_cert.pem"]
        self._login += ["--key", f"{certs}/client_key.pem"]

    @staticmethod
    def _content_type(entry: QueueEntry) -> str:
        if JSON in entry.accept or "*/*" in entry.accept or "application/*" in entry.accept:
            return JSON
        return entry.accept[0]

    @property
    def takes_json(self) -> bool:
        """True if the body of the sample model can be sent."""
        return self.headers["Content-Type"] == JSON

    def call(self, *options: str) -> str:
        """The command that makes a call."""
        headers = [part for name, value in self.headers.items() for part in ("-H", f"{name}: {value}")]
        body = ["-d", BODY] if self.takes_json else ["--data-binary", "@FILE"]
        return shlex.join([*self._login, *headers, *options, *body, self._url])

    def fetch(self, url: str) -> str:
        """The command that fetches a result."""
        return shlex.join([*self._login, "-H", "Prefer: wait=60", url])

    def program(self, amqp_url: str) -> str:
        """The program that speaks AMQP."""
        reply_to = self._entry.reply_to
        example = _EXAMPLE if reply_to is not None else _EXAMPLE_WITHOUT_REPLY_TO
        return example.format(url=amqp_url, exchange=self._entry.exchange, key=self.key, body=BODY, reply_to=reply_to)
