"""Tests of ``provider_gateway.grpc_model.caller`` with a channel that ends calls when the test says so."""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from provider_gateway.errors import ModelFailure
from provider_gateway.grpc_model.caller import Caller
from provider_gateway.grpc_model.channel import Answer

#: What grpcio says when a server that is about to end has closed the connection.
DRAINED = "Stream removed (Socket closed (GOAWAY received; Error code: 0; Debug Text: Server shutdown))"
TIMEOUT = 300.0


class _Call:
    """A call under way."""

    def __init__(self, began: float) -> None:
        self.answered: Deferred[Answer] = Deferred()
        self.began = began


class _Channel:
    """A channel with one call, which begins at 0."""

    def __init__(self) -> None:
        self.call = _Call(0)

    def begin(self, _method: str, _request: bytes, _metadata: Any, _seconds: float) -> _Call:
        return self.call


class LostConnectionTests(SynchronousTestCase):
    """A connection that is lost with the call."""

    def reason(self, seconds: float, details: str = DRAINED) -> str:
        """Why a call failed whose connection was lost after this time."""
        clock = Clock()
        channel: Any = _Channel()
        caller = Caller(channel, clock=clock, max_body_bytes=100, wall_clock=lambda: 0.0)
        calling = Deferred.fromCoroutine(caller.call("/s/M", b"", (), TIMEOUT))
        clock.advance(seconds)
        channel.call.answered.callback(Answer("UNAVAILABLE", details, b"", ()))
        failure = self.failureResultOf(calling, ModelFailure).value
        self.assertIs(type(failure), ModelFailure)
        self.assertIn(details, failure.cause)
        reason: str = failure.reason
        return reason

    def test_before_the_time_limit(self) -> None:
        """The call has failed for the connection."""
        self.assertEqual("connection", self.reason(1))
        self.assertEqual("connection", self.reason(TIMEOUT - 0.1))

    def test_at_the_time_limit(self) -> None:
        """The call has timed out: a server that drains ends it by its own clock, and the connection with it.

        Which of the two clocks is first must not decide what is said.
        """
        self.assertEqual("timeout", self.reason(TIMEOUT - 0.001))
