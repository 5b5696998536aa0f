"""One slot for each sender, of which only the newest content counts; senders take turns."""

import asyncio
from collections.abc import Hashable
from typing import Any


class Newest:
    """A queue in which something newer of the same sender takes the place of the older, in its turn."""

    def __init__(self) -> None:
        self._waiting: dict[Hashable, Any] = {}
        self._filled = asyncio.Event()

    def put(self, sender: Hashable, content: Any) -> None:
        """Fill or replace the sender's slot."""
        self._waiting[sender] = content
        self._filled.set()

    def drop(self, sender: Hashable) -> None:
        """Empty the sender's slot."""
        self._waiting.pop(sender, None)

    async def take(self) -> tuple[Any, Any]:
        """Wait for content; the sender who has waited longest, and it."""
        while not self._waiting:
            self._filled.clear()
            await self._filled.wait()
        sender = next(iter(self._waiting))
        return sender, self._waiting.pop(sender)
