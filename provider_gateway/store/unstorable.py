"""What is stored in place of an outcome that a database does not take: a request must not stay pending for ever."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from provider_gateway.errors import GatewayError
from provider_gateway.message.problem import PROBLEM_JSON, problem_body
from provider_gateway.store.records import Result, Status

if TYPE_CHECKING:
    from provider_gateway.store.records import Outcome


class ResultNotStorable(GatewayError):
    """The database of the result store does not take the result."""

    status, problem, title = 502, "result-not-storable", "The result could not be stored"


_ERROR = ResultNotStorable("There is a result, and the result store could not take it. Its log says why.")
_RESULT = Result(status=_ERROR.status, body=problem_body(_ERROR, None), content_type=PROBLEM_JSON)


def instead_of(outcome: Outcome) -> Outcome:
    """The next best outcome: a failure that says why; then the same without a record to restore; then no other."""
    if outcome.result is not _RESULT:
        return replace(outcome, status=Status.FAILED, result=_RESULT, attempts=None, model_status=None)
    return replace(outcome, restored=None)
