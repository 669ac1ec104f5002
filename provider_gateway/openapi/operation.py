"""What is said of a route: plain values that the package with the route writes down."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from provider_gateway.message.http_headers import JSON
from provider_gateway.message.ids import RQUID

if TYPE_CHECKING:
    from collections.abc import Mapping

    from provider_gateway.errors import GatewayError

#: A JSON Schema (draft 2020-12), as decoded JSON. It may stand in several places: nobody changes it.
Schema: TypeAlias = dict[str, Any]
#: How errors look: problem documents, or the form of the Open Inference Protocol.
Form: TypeAlias = Literal["problem", "open-inference"]


def ref(name: str) -> Schema:
    """A reference to a schema among the components."""
    return {"$ref": f"#/components/schemas/{name}"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Parameter:
    """A parameter of an operation.

    Attributes:
        where: ``path``, ``query`` or ``header``.
        examples: values to try.
    """

    name: str
    where: Literal["path", "query", "header"]
    description: str
    schema: Schema = field(default_factory=lambda: {"type": "string"})
    required: bool = False
    examples: tuple[str, ...] = ()


RQUID_PARAMETER = Parameter(
    name=RQUID,
    where="header",
    description="Id of the request, for logs and messages; generated if it is missing. It may repeat.",
    schema={"type": "string", "pattern": r"^[\x21-\x7e]{1,128}$"},
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Body:
    """The body of a request.

    Attributes:
        content: schemas by media type or range of media types.
    """

    description: str
    content: Mapping[str, Schema]


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """A response that is no error.

    Attributes:
        content: schemas by media type or range; empty if there is no body.
        headers: descriptions by name. Each may be missing.
        links: operations that go on from here: their ids, with the values of their parameters.
    """

    description: str
    content: Mapping[str, Schema] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)
    links: Mapping[str, Mapping[str, str]] = field(default_factory=dict)


def json_answer(
    description: str,
    schema: str,
    *,
    headers: Mapping[str, str] | None = None,
    links: Mapping[str, Mapping[str, str]] | None = None,
) -> Answer:
    """An answer whose body is JSON.

    Args:
        schema: its name among the components.
    """
    return Answer(description=description, content={JSON: ref(schema)}, headers=headers or {}, links=links or {})


@dataclass(frozen=True, slots=True, kw_only=True)
class Operation:
    """One method of one path.

    Attributes:
        id: its name for programs (``operationId``).
        summary: one line.
        description: what there is to know; CommonMark with paragraphs, lists and code spans.
        answers: responses by status; ``default`` is any other status.
        errors: the errors that it may end with, beside those of every operation.
        relays: True if what serves the queue may answer with errors of its own, which are passed on.
        form: how its errors look.
    """

    id: str
    tag: str
    summary: str
    description: str = ""
    parameters: tuple[Parameter, ...] = ()
    body: Body | None = None
    answers: Mapping[str, Answer]
    errors: tuple[type[GatewayError], ...] = ()
    relays: bool = False
    form: Form = "problem"
