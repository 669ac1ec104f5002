"""``--check``: print the effective settings, secrets masked; with ``--connect``, try what it connects to."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml
from pika.exceptions import AMQPError
from twisted.internet.defer import Deferred
from twisted.internet.threads import deferToThreadPool

from provider_gateway import __version__
from provider_gateway.amqp.channels import channels_needed
from provider_gateway.amqp.endpoint import BrokerEndpoint, why_failed
from provider_gateway.amqp.notice_queue import NoticeQueue
from provider_gateway.amqp.session import ConnectionLost
from provider_gateway.amqp.topology_check import Finding, TopologyCheck
from provider_gateway.config.broker_url import BrokerURL
from provider_gateway.config.masked_url import MaskedURL
from provider_gateway.config.store_url import StoreURL
from provider_gateway.observability.metrics import Metrics
from provider_gateway.provider.models import Models
from provider_gateway.security.model_credentials import load_model_credentials
from provider_gateway.security.tls import broker_tls, model_tls
from provider_gateway.store.checking import try_store
from provider_gateway.topology.checks import warnings

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from provider_gateway.amqp.session import Session
    from provider_gateway.clocks import WallClock
    from provider_gateway.config.model_entry import ModelEntry
    from provider_gateway.config.queue_file import QueueEntry
    from provider_gateway.config.settings import Role, Settings


def _plain(value: object) -> object:
    if isinstance(value, dict):
        return ",".join(f"{name}={each}" for name, each in value.items())
    if isinstance(value, tuple):
        return ",".join(str(_plain(each)) for each in value)
    if isinstance(value, BrokerURL | MaskedURL | StoreURL | Path):
        return str(value)
    return value


def effective_settings(
    settings: Settings,
    entries: Sequence[QueueEntry],
    source: str,
    roles: Sequence[Role],
    unknown: Sequence[str] = (),
) -> str:
    """The settings as YAML: variables, then queue entries in the queue file's own form.

    Args:
        source: where the queue entries come from.
        unknown: warnings of variables that are not settings.
    """
    variables = {name.upper(): _plain(value) for name, value in settings if value is not None}
    sent = settings.otel_exporter_otlp_headers  # they may hold keys
    variables["OTEL_EXPORTER_OTLP_HEADERS"] = ",".join(f"{name}=***" for name in sent)
    variables["MODEL_URL"] = str(settings.effective_model_url)
    variables["RESULT_MAX_BYTES"] = settings.effective_result_max_bytes
    variables["CANCELLATIONS"] = settings.follows_cancellations
    queues = [entry.model_dump(by_alias=True, mode="json", exclude_none=True) for entry in entries]
    document = {
        "version": __version__,
        "roles": list(roles),
        "settings": variables,
        "queues": {"source": source, "entries": queues},
    }
    if risks := [*warnings(entries, settings.model_timeout), *settings.risks, *unknown]:
        document["warnings"] = risks
    text: str = yaml.safe_dump(document, sort_keys=False, allow_unicode=True)
    return text


def check_connections(
    reactor: Any,
    settings: Settings,
    entries: Sequence[QueueEntry],
    roles: Sequence[Role],
    variables: Mapping[str, str],
    wall_clock: WallClock,
) -> Deferred[None]:
    """Try broker, topology, models and result store, and print the findings.

    Nothing is changed, see :mod:`provider_gateway.amqp.topology_check`, and no model is called.

    Args:
        variables: of the environment, for the headers of models.
        wall_clock: has the date, for the models.

    Returns:
        A Deferred that fails with SystemExit(1) if anything is wrong.
    """
    return Deferred.fromCoroutine(_check(reactor, settings, entries, roles, variables, wall_clock))


async def _check(
    reactor: Any,
    settings: Settings,
    entries: Sequence[QueueEntry],
    roles: Sequence[Role],
    variables: Mapping[str, str],
    wall_clock: WallClock,
) -> None:
    wrong = await _check_brokers(reactor, settings, entries, roles)
    if "provider" in roles:
        wrong += await _check_models(reactor, settings, entries, variables, wall_clock)
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


async def _check_models(
    reactor: Any,
    settings: Settings,
    entries: Sequence[QueueEntry],
    variables: Mapping[str, str],
    wall_clock: WallClock,
) -> int:
    """Ask each model, and its ready URL. A model that is not ready for now is no mistake.

    Returns:
        How much is wrong.
    """
    tls = model_tls(settings, _ignore_expiry)
    models = Models(
        reactor,
        settings,
        entries,
        tls=tls,
        credentials=load_model_credentials(entries, tls, variables, _ignore_expiry),
        metrics=Metrics(),
        wall_clock=wall_clock,
    )
    wrong = 0
    seen: set[tuple[ModelEntry | None, str]] = set()
    for group, connected in models.each():
        own = group[0].model
        # The model of MODEL_URL is known without its queues.
        of = "" if own is None else f" of {', '.join(repr(entry.queue_name) for entry in group)}"
        if connected.readiness is not None:
            reason = await connected.readiness.why_not()
            _say(f"ready URL {connected.readiness.where}{of}", "ready" if reason is None else f"not ready: {reason}")
        asked = own, connected.where.reveal()
        if connected.check is not None and asked not in seen:  # entries of one model may have other ready URLs
            seen.add(asked)
            text, is_wrong = await connected.check.find()
            wrong += is_wrong
            _say(f"model {connected.where}{of}", f"FAILED: {text}" if is_wrong else text)
    models.close()
    return wrong
