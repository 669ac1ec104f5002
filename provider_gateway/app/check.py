"""``--check``: print the effective settings, secrets masked; with ``--connect``, try what it connects to."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml
from pika.exceptions import AMQPError
from twisted.internet.defer import Deferred
from twisted.internet.threads import deferToThreadPool

from provider_gateway.amqp.channels import channels_needed
from provider_gateway.amqp.endpoint import BrokerEndpoint, why_failed
from provider_gateway.amqp.notice_queue import NoticeQueue
from provider_gateway.amqp.session import ConnectionLost
from provider_gateway.amqp.topology_check import Finding, TopologyCheck
from provider_gateway.config.broker_url import BrokerURL
from provider_gateway.config.masked_url import MaskedURL
from provider_gateway.config.store_url import StoreURL
from provider_gateway.http_client.treq_post import FixedURL
from provider_gateway.model.client import model_client
from provider_gateway.model.readiness import Readiness
from provider_gateway.net.failure_reasons import reason_of
from provider_gateway.security.tls import broker_tls, model_tls
from provider_gateway.store.checking import try_store
from provider_gateway.topology.checks import warnings

if TYPE_CHECKING:
    from collections.abc import Sequence

    from provider_gateway.amqp.session import Session
    from provider_gateway.config.queue_file import QueueEntry
    from provider_gateway.config.settings import Role, Settings

#: Seconds for the model's response.
_MODEL_TIMEOUT = 5.0


def _plain(value: object) -> object:
    if isinstance(value, tuple):
        return ",".join(str(_plain(each)) for each in value)
    if isinstance(value, BrokerURL | MaskedURL | StoreURL | Path):
        return str(value)
    return value


def effective_settings(settings: Settings, entries: Sequence[QueueEntry], source: str, roles: Sequence[Role]) -> str:
    """The settings as YAML: variables, then queue entries in the queue file's own form.

    Args:
        source: where the queue entries come from.
    """
    variables = {name.upper(): _plain(value) for name, value in settings if value is not None}
    variables["MODEL_URL"] = str(settings.effective_model_url)
    variables["RESULT_MAX_BYTES"] = settings.effective_result_max_bytes
    variables["CANCELLATIONS"] = settings.follows_cancellations
    queues = [entry.model_dump(by_alias=True, mode="json", exclude_none=True) for entry in entries]
    document = {"roles": list(roles), "settings": variables, "queues": {"source": source, "entries": queues}}
    if risks := [*warnings(entries, settings.model_timeout), *settings.risks]:
        document["warnings"] = risks
    text: str = yaml.safe_dump(document, sort_keys=False, allow_unicode=True)
    return text


def check_connections(
    reactor: Any, settings: Settings, entries: Sequence[QueueEntry], roles: Sequence[Role]
) -> Deferred[None]:
    """Try broker, topology, model and result store, and print the findings.

    Nothing is changed, see :mod:`provider_gateway.amqp.topology_check`.

    Returns:
        A Deferred that fails with SystemExit(1) if anything is wrong.
    """
    return Deferred.fromCoroutine(_check(reactor, settings, entries, roles))


async def _check(reactor: Any, settings: Settings, entries: Sequence[QueueEntry], roles: Sequence[Role]) -> None:
    wrong = await _check_brokers(reactor, settings, entries, roles)
    if "provider" in roles:
        wrong += await _check_model(reactor, settings, entries)
    if "gateway" in roles and settings.result_store is not None:
        wrong += await _check_store(reactor, settings.result_store)
    if wrong:
        raise SystemExit(1)


def _say(what: str, finding: str) -> None:
    print(f"{what}: {finding}", flush=True)


def _ignore_expiry(_side: str, _when: float) -> None:
    """Do nothing: expiry is a metric of the running process only."""


async def _check_brokers(reactor: Any, settings: Settings, entries: Sequence[QueueEntry], roles: Sequence[Role]) -> int:
    """Try the addresses in order until one gives a connection, as the process does.

    Returns:
        How much is wrong: 1 if no address works, else what is wrong with the topology.
    """
    consumers = consumers_of(settings, entries, roles)
    for url in settings.rmq_url:
        tls = broker_tls(settings, _ignore_expiry).to if url.tls else None

        async def look(session: Session) -> None:
            session.channels.require(channels_needed(consumers))

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
        wrong = await _check_topology(session, settings, entries, roles)
        await session.close()
        return wrong
    return 1


def consumers_of(settings: Settings, entries: Sequence[QueueEntry], roles: Sequence[Role]) -> int:
    """Channels that the process needs to consume: as many as its roles say."""
    consumers = (len(entries) if "provider" in roles else 0) + ("gateway" in roles)
    if "gateway" in roles and settings.result_store is not None:
        webhooks = settings.http_access is not None
        consumers += 1 + NoticeQueue.channels + webhooks
    if "provider" in roles and settings.follows_cancellations:
        consumers += NoticeQueue.channels
    return consumers


async def _check_topology(
    session: Session, settings: Settings, entries: Sequence[QueueEntry], roles: Sequence[Role]
) -> int:
    """Look at the objects of the queue file.

    Returns:
        How many things are wrong.
    """
    wrong = 0

    def report(finding: Finding) -> None:
        nonlocal wrong
        wrong += finding.is_wrong
        _say("topology", finding.text)

    try:
        await TopologyCheck(session, report).run(entries, roles, settings)
    except (AMQPError, ConnectionLost) as error:
        report(Finding(f"FAILED: the connection was lost: {error}", is_wrong=True))
    return wrong


async def _check_store(reactor: Any, url: StoreURL) -> int:
    """Try the result store.

    Returns:
        How much is wrong.
    """
    found, wrong = await deferToThreadPool(reactor, reactor.getThreadPool(), try_store, url)
    what = f"result store {url}"
    if found is not None:
        _say(what, found)
    for each in wrong:
        _say(what, f"FAILED: {each}")
    return len(wrong)


async def _check_model(reactor: Any, settings: Settings, entries: Sequence[QueueEntry]) -> int:
    """Ask the model, and its ready URLs. A model that is not ready for now is no mistake.

    Returns:
        How much is wrong.
    """
    url = settings.effective_model_url
    client = model_client(reactor, model_tls(settings, _ignore_expiry), connections=1)
    for ready_url in dict.fromkeys(map(settings.effective_ready_url, entries)):
        if ready_url is not None:
            reason = await Readiness(reactor, client, ready_url).why_not()
            _say(f"ready URL {ready_url}", "ready" if reason is None else f"not ready: {reason}")
    try:
        response = await client.get(
            FixedURL.of(url.reveal()), allow_redirects=False, unbuffered=True, timeout=_MODEL_TIMEOUT, reactor=reactor
        )
    except Exception as error:  # noqa: BLE001 - whatever keeps the model from responding is the finding
        _say(f"model {url}", f"FAILED: {reason_of(error)}")
        return 1
    _say(f"model {url}", f"answers (HTTP status {response.code} to GET)")
    return 0
