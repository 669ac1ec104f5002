"""What the workbench needs of the gateway, which is above it: requests are let in and counted as all others."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable


class Admission(Protocol):
    """Which requests are let in."""

    async def serve(self, request: Any, answer: Callable[[], Awaitable[bytes]], *, cors: bool = True) -> bytes:
        """Let a request in, and count it as in flight until it is answered.

        Args:
            cors: False if no page of another origin may ever read the response.
        """
