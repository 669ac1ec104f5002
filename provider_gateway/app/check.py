"""``--check``: print the effective settings, secrets masked; with ``--connect``, try broker, topology and model."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml
from pika.exceptions import ChannelClosedByBroker
from twisted.internet.defer import Deferred

from provider_gateway.amqp.channels import channels_needed
from provider_gateway.amqp.declare import declare_entry
from provider_gateway.amqp.endpoint import BrokerEndpoint, why_failed
from provider_gateway.config.broker_url import BrokerURL
from provider_gateway.config.masked_url import MaskedURL
from provider_gateway.errors import TopologyError
from provider_gateway.http_client.treq_post import FixedURL
from provider_gateway.model.client import model_client
from provider_gateway.net.failure_reasons import reason_of
from provider_gateway.security.tls import broker_tls, model_tls
from provider_gateway.topology.checks import warnings
from provider_gateway.topology.declarations import Binding, Exchange, objects_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from provider_gateway.amqp.session import Session
    from provider_gateway.config.queue_file import QueueEntry
    from provider_gateway.config.settings import Role, Settings
    from provider_gateway.topology.declarations import Queue

#: Seconds for the model's response.
_MODEL_TIMEOUT = 5.0


def _plain(value: object) -> object:
    if isinstance(value, tuple):
        return ",".join(str(_plain(each)) for each in value)
    if isinstance(value, BrokerURL | MaskedURL | Path):
        return str(value)
    return value


def effective_settings(settings: Settings, entries: Sequence[QueueEntry], source: str, roles: Sequence[Role]) -> str:
    """The settings as YAML: variables, then queue entries in the queue file's own form.

    Args:
        source: where the queue entries come from.
    """
    variables = {name.upper(): _plain(value) for name, value in settings if value is not None}
    variables["MODEL_URL"] = str(settings.effective_model_url)
    queues = [entry.model_dump(by_alias=True, mode="json", exclude_none=True) for entry in entries]
    document = {"roles": list(roles), "settings": variables, "queues": {"source": source, "entries": queues}}
    if risks := list(warnings(entries)):
        document["warnings"] = risks
    text: str = yaml.safe_dump(document, sort_keys=False, allow_unicode=True)
    return text


def check_connections(
    reactor: Any, settings: Settings, entries: Sequence[QueueEntry], roles: Sequence[Role]
) -> Deferred[None]:
    """Try broker, topology and model, and print the findings.

    Nothing is created. Objects are looked up with passive declarations. Those of an entry are declared actively only if
    all of them exist: the broker then compares their arguments.

    Returns:
        A Deferred that fails with SystemExit(1) if anything is wrong.
    """
    return Deferred.fromCoroutine(_check(reactor, settings, entries, roles))


async def _check(reactor: Any, settings: Settings, entries: Sequence[QueueEntry], roles: Sequence[Role]) -> None:
    consumers = (len(entries) if "provider" in roles else 0) + ("gateway" in roles)
    wrong = await _check_brokers(reactor, settings, entries, consumers)
    if "provider" in roles:
        wrong += await _check_model(reactor, settings)
    if wrong:
        raise SystemExit(1)


def _say(what: str, finding: str) -> None:
    print(f"{what}: {finding}", flush=True)


def _ignore_expiry(_side: str, _when: float) -> None:
    """Do nothing: expiry is a metric of the running process only."""


async def _check_brokers(reactor: Any, settings: Settings, entries: Sequence[QueueEntry], consumers: int) -> int:
    """Try the addresses in order until one gives a connection, as the process does.

    Args:
        consumers: queues that the process will consume.

    Returns:
        How much is wrong: 1 if no address works, else what is wrong with the topology.
    """
    for url in settings.rmq_url:
        tls = broker_tls(settings, _ignore_expiry).to if url.tls else None
        found: list[str] = []

        async def look(session: Session, found: list[str] = found) -> None:
            session.channels.require(channels_needed(consumers))
            for entry in entries:
                found.extend(await _differences(session, entry))

        endpoint = BrokerEndpoint(
            reactor,
            [url],
            tls=tls,
            has_client_certificate=settings.mq_cert is not None,
            name="check",
            instance=settings.instance,
            prepare=look,
        )
        try:
            session = await endpoint.open_session()
        except Exception as error:  # noqa: BLE001 - whatever an attempt raises, it has failed
            _say(f"broker {url}", f"FAILED: {why_failed(error)}")
            continue
        _say(f"broker {url}", "connected")
        for line in found:
            _say("topology", line)
        await session.close()
        return sum("FAILED" in line for line in found)
    return 1


async def _exists(session: Session, what: Exchange | Queue) -> bool:
    channel = await session.channel()
    passive = channel.exchange_declare if isinstance(what, Exchange) else channel.queue_declare
    try:
        await passive(what.name, passive=True)
    except ChannelClosedByBroker as error:
        if error.reply_code == 404:
            return False
        raise
    channel.close()
    return True


async def _differences(session: Session, entry: QueueEntry) -> list[str]:
    """What the broker says about the objects of one entry, as lines to print."""
    named = [each for each in objects_of(entry) if not isinstance(each, Binding)]
    missing = [str(each) for each in named if not await _exists(session, each)]
    if missing:
        return [f"{what} is not there yet and will be declared at start" for what in missing]
    channel = await session.channel()
    try:
        await declare_entry(channel, entry)
    except TopologyError as error:
        return [f"FAILED: {error}"]
    channel.close()
    return [f"queue {entry.queue_name!r} and its bindings are as the queue file says"]


async def _check_model(reactor: Any, settings: Settings) -> int:
    url = settings.effective_model_url
    client = model_client(reactor, model_tls(settings, _ignore_expiry), connections=1)
    try:
        response = await client.get(
            FixedURL.of(url.reveal()), allow_redirects=False, unbuffered=True, timeout=_MODEL_TIMEOUT, reactor=reactor
        )
    except Exception as error:  # noqa: BLE001 - whatever keeps the model from responding is the finding
        _say(f"model {url}", f"FAILED: {reason_of(error)}")
        return 1
    _say(f"model {url}", f"answers (HTTP status {response.code} to GET)")
    return 0
