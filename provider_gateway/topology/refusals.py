"""What a broker means that refuses a declaration, and what to do about it."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from provider_gateway.errors import TopologyError
from provider_gateway.topology.declarations import Binding, Exchange, Queue

if TYPE_CHECKING:
    from collections.abc import Callable

    from provider_gateway.topology.declarations import Declared

    _Advice = Callable[["Declared | Use", re.Match[str]], str]


@dataclass(frozen=True, slots=True)
class Use:
    """Something that is done with an object, and the permission that it needs: ``write`` or ``read``."""

    text: str
    permission: str

    def __str__(self) -> str:
        return self.text


_INEQUIVALENT = re.compile(
    r"inequivalent arg '(?P<argument>[^']+)' for .*?: received (?P<ours>.*) but current is (?P<theirs>.*)"
)
_VALUE = re.compile(r"the value '(.*)' of type '\w+'")


@dataclass(frozen=True, slots=True)
class _Rule:
    """A kind of refusal.

    Attributes:
        codes: its reply codes.
        text: what its text contains.
        advice: makes the advice.
        is_final: each further attempt will fail until somebody changes the queue file or the object.
    """

    codes: frozenset[int]
    text: re.Pattern[str]
    advice: _Advice
    is_final: bool


def _says(advice: str) -> _Advice:
    return lambda _what, _found: advice


def _value(shown: str) -> str:
    """A value as RabbitMQ's texts show it, without its type; they may be cut off."""
    return _VALUE.sub(r"\1", shown).strip("'")


def _key(what: Declared | Use, name: str) -> str | None:
    """The key of the queue file that sets a property or argument of an object; None if there is none."""
    if not isinstance(what, Queue | Exchange):
        return None
    if (key := what.keys.get(name)) is not None:
        return key
    return f"{what.keys['*']}.{name}" if name.startswith("x-") and "*" in what.keys else None


def _differs(what: Declared | Use, found: re.Match[str]) -> str:
    argument, ours, theirs = found["argument"], _value(found["ours"]), _value(found["theirs"])
    key = _key(what, argument)
    delete = f"delete the {what}" + (", with its messages" if isinstance(what, Queue) else "")
    says = f"the broker has {argument} {theirs}, the queue file asks for {ours}"
    if key is None:
        return f"the broker has {argument} {theirs}, this program needs {ours}: {delete}, or use another name"
    if theirs == "none":
        return f"{says}: remove {key}, or {delete}"
    return f"{says}: set {key} to {theirs}, or {delete}"


def _invalid(what: Declared | Use, found: re.Match[str]) -> str:
    key = _key(what, found[1])
    return f"this broker does not take it: correct {key}" if key is not None else "this broker does not take it"


def _limit(_what: Declared | Use, found: re.Match[str]) -> str:
    vhost = re.search(r"in vhost '([^']*)'", found.string)
    command = (
        f"rabbitmqctl set_vhost_limits -p {vhost[1]} '{{\"max-queues\": NUMBER}}'" if vhost else "in rabbitmq.conf"
    )
    return f"delete queues that nobody uses, or raise the limit: {command}"


def _permission(what: Declared | Use, found: re.Match[str]) -> str:
    kind, name, vhost, user = found["kind"], found["name"], found["vhost"], found["user"]
    if kind == "topic":
        grant = f"rabbitmqctl set_topic_permissions -p {vhost} {user} EXCHANGE WRITE READ"
        return f"grant it ({grant}): its patterns have to match {name!r}"
    permission = found["permission"] or _missing_permission(what, kind, name)
    return (
        f"grant {permission} (rabbitmqctl set_permissions -p {vhost} {user} CONFIGURE WRITE READ): its pattern has to "
        f"match {name!r}"
    )


def _missing_permission(what: Declared | Use, kind: str, name: str) -> str:
    """Which of the three permissions is missing: RabbitMQ 3.10 does not say it, but the operation tells."""
    if isinstance(what, Use):
        return what.permission
    if isinstance(what, Binding):
        return "read" if kind == "exchange" else "write"
    if name != what.name:
        return "write"  # to the dead-letter exchange
    has_target = isinstance(what, Queue) and "x-dead-letter-exchange" in what.arguments
    return "configure and, as it has a dead-letter exchange, read" if has_target else "configure"


def _transient(what: Declared | Use, _found: re.Match[str]) -> str:
    key = _key(what, "durable")
    return "this broker permits no transient queues: " + (f"remove '{key}: false'" if key else "permit them there")


def _rule(codes: set[int], text: str, advice: str | _Advice, *, is_final: bool = False) -> _Rule:
    made = _says(advice) if isinstance(advice, str) else advice
    return _Rule(frozenset(codes), re.compile(text, re.DOTALL), made, is_final)


#: The first rule that fits is used.
_RULES = (
    _rule({406}, _INEQUIVALENT.pattern, _differs, is_final=True),
    _rule({406}, r"limit .*reached", _limit),
    _rule({406}, r"invalid (?:arg|property|type '\w+' for arg) '([^']+)'", _invalid, is_final=True),
    _rule({406, 503}, r"(?:invalid|unknown) exchange type", "this broker has no such exchange type", is_final=True),
    _rule(
        {403},
        r"(?:(?P<permission>configure|write|read) )?access to (?P<kind>queue|exchange|topic) '(?P<name>[^']*)' "
        r".*?in vhost '(?P<vhost>[^']*)' refused for user '(?P<user>[^']*)'",
        _permission,
    ),
    _rule({403}, r"reserved prefix", "use another name", is_final=True),
    _rule({405}, "", "another connection has an exclusive queue of this name: end it, or use another name"),
    _rule({541}, r"transient_nonexcl_queues", _transient, is_final=True),
    _rule({541}, r"is deprecated", "permit the feature at the broker", is_final=True),
    _rule(
        {404, 541},
        r"down or inaccessible|is down|stopped|timeout|unavailable|no_quorum|majority",
        "a node of the broker is down: start it; a quorum queue needs most of its nodes",
    ),
    _rule({403, 404, 406, 540, 541}, r"disabled|feature flag", "enable the feature at the broker"),
    _rule({540}, "", "this broker does not implement it", is_final=True),
    _rule({406}, "", "make the queue file agree with the object, or delete the object", is_final=True),
    _rule({541}, "", "the broker's log says why"),
)


def refusal(what: Declared | Use, code: int, text: str, *, of_connection: bool = False) -> TopologyError:
    """The error for a refused declaration, with advice.

    Args:
        code: the broker's reply code (AMQP 0-9-1, 1.2).
        text: the broker's words; of any length, with line ends.
        of_connection: the broker closed the connection, not only the channel.
    """
    text = " ".join(text.split())
    told = f"{what}: the broker closed the connection over it: {text}"
    if not of_connection:
        told = f"{what}: the broker refused it: {text}"
    for rule in _RULES:
        if code in rule.codes and (found := rule.text.search(text)):
            return TopologyError(f"{told} ({rule.advice(what, found)})", code=code, is_final=rule.is_final)
    return TopologyError(told, code=code)
