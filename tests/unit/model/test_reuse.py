"""Connections that the model closes while they are idle, on real sockets: which are used, and what is sent again."""

from __future__ import annotations

import socket
import ssl
import threading
import time
from functools import partial
from typing import Any

from provider_gateway.errors import ModelFailure, ModelUnreachable
from provider_gateway.message.message import Message
from tests.unit.model.socket_model import OK, ScriptedConnection, SocketModelTestCase

LARGE = bytes(5_000_000)


def closes(connection: ScriptedConnection) -> bytes:
    """Answer once, and close with the next request unanswered."""
    connection.answer()
    body = connection.request()
    connection.close()
    return body


def resets(connection: ScriptedConnection) -> bytes:
    """Answer once, and reset the connection with the next request unanswered."""
    connection.answer()
    body = connection.request()
    connection.reset()
    return body


class ReuseTests(SocketModelTestCase):
    """Without TLS."""

    async def assert_fails(self, reason: str = "connection", **how: Any) -> ModelFailure:
        """Check that a call is a failure, and not a model that is away."""
        try:
            await self.call(**how)
        except ModelFailure as failure:
            self.assertEqual(failure.reason, reason)
            self.assertNotIsInstance(failure, ModelUnreachable)
            return failure
        raise self.failureException("the call did not fail")

    async def test_end_that_is_not_read_yet(self) -> None:
        """A connection whose end, or anything else, has arrived is not used, before the reactor has seen it."""

        def sends(connection: ScriptedConnection) -> None:
            connection.socket.sendall(b"HTTP/1.1 408 Request Timeout\r\n\r\n")
            connection.wait_for_end()

        def ends(
            connection: ScriptedConnection, end: Any, is_idle: threading.Event, has_ended: threading.Event
        ) -> None:
            connection.answer()
            is_idle.wait(10)
            threading.Timer(0.05, has_ended.set).start()
            end(connection)

        for end in (ScriptedConnection.close, ScriptedConnection.reset, sends):
            is_idle, has_ended = threading.Event(), threading.Event()
            script = partial(ends, end=end, is_idle=is_idle, has_ended=has_ended)
            served = self.serve(script, ScriptedConnection.answer)
            await self.call()
            is_idle.set()
            has_ended.wait(10)  # the reactor must not run
            self.assertEqual((await self.call()).body, b"[1]")
            await served

    async def test_behind_the_answer(self) -> None:
        """A call from within an answer's delivery gets its own answer, whatever has arrived behind the first one."""

        def sends(connection: ScriptedConnection) -> None:
            connection.socket.sendall(OK.replace(b"[1]", b"[9]"))

        for rest in (ScriptedConnection.end_tls, sends):

            def answers(connection: ScriptedConnection, rest: Any = rest) -> None:
                connection.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_CORK, 1)  # one segment
                connection.answer()
                rest(connection)
                connection.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_CORK, 0)
                connection.wait_for_end()

            served = self.serve(answers, ScriptedConnection.answer)
            await self.model.call(Message(b"[1]"), "r1", 10)
            self.assertEqual((await self.call(b"[2]")).body, b"[1]")
            self.assertEqual(await served, [None, b"[2]"])

    async def test_sent_again(self) -> None:
        """A call that a used connection swallows is sent once more, on a new connection, if it may be repeated."""
        for script in (closes, resets):
            served = self.serve(script, ScriptedConnection.answer)
            await self.call()
            self.assertEqual((await self.call(b"[2]", may_repeat=True)).body, b"[1]")
            self.assertEqual(await served, [b"[2]", b"[2]"])

    async def test_large_body(self) -> None:
        """A body that was written in part is sent again as a whole."""

        def swallows(connection: ScriptedConnection) -> None:
            connection.answer()
            connection.socket.recv(10_000)
            connection.reset()

        served = self.serve(swallows, lambda connection: len(connection.answer()))
        await self.call()
        await self.call(LARGE, may_repeat=True)
        self.assertEqual(await served, [None, len(LARGE)])

    async def test_never_by_default(self) -> None:
        """Without leave nothing is sent twice."""
        for script in (closes, resets):
            served = self.serve(script)
            await self.call()
            await self.assert_fails(body=b"[2]")
            self.assertEqual(await served, [b"[2]"])

    async def test_never_on_a_new_connection(self) -> None:
        """A new connection that is closed without an answer is a failure at once: the model has taken the call."""
        for end in (ScriptedConnection.close, ScriptedConnection.reset):
            served = self.serve(lambda connection, end=end: (connection.request(), end(connection))[0])
            await self.assert_fails(may_repeat=True)
            self.assertEqual(await served, [b"[0]"])

    async def test_never_a_third_time(self) -> None:
        """If the new connection is closed, too, the call fails."""
        served = self.serve(closes, ScriptedConnection.request)
        await self.call()
        await self.assert_fails(body=b"[2]", may_repeat=True)
        self.assertEqual(await served, [b"[2]", b"[2]"])

    async def test_never_after_a_byte(self) -> None:
        """One byte of an answer is one: the model works on the call. An interim response is one, too."""
        for begun, reason in (
            (b"H", "connection"),
            (b"HTTP/1.1 100 Continue\r\n\r\n", "connection"),
            (OK[:-1], "body"),
        ):
            served = self.serve(lambda connection, begun=begun: (connection.answer(), connection.answer(begun))[1])
            await self.call()
            await self.assert_fails(reason, body=b"[2]", may_repeat=True)
            self.assertEqual(await served, [b"[2]"])

    async def test_one_time_limit(self) -> None:
        """What is sent again has what is left of the time limit."""

        def late(connection: ScriptedConnection) -> None:
            connection.answer()
            connection.request()
            time.sleep(0.4)

        def hangs(connection: ScriptedConnection) -> None:
            connection.request()
            connection.wait_for_end()

        served = self.serve(late, hangs)
        await self.call()
        begun = time.monotonic()
        await self.assert_fails("timeout", timeout=0.8, may_repeat=True)
        self.assertLess(time.monotonic() - begun, 1.1)
        await served

    async def test_no_new_connection(self) -> None:
        """If no new connection can be made, the call is a failure: the model may have seen it, and crashed over it."""
        served = self.serve(lambda connection: (connection.answer(), connection.request(), self.listener.close()))
        await self.call()
        failure = await self.assert_fails(may_repeat=True)
        self.assertIn("refused", failure.cause)
        await served


class ReuseTLS13Tests(ReuseTests):
    """With TLS 1.3."""

    version = ssl.TLSVersion.TLSv1_3


class ReuseTLS12Tests(ReuseTests):
    """With TLS 1.2."""

    version = ssl.TLSVersion.TLSv1_2
