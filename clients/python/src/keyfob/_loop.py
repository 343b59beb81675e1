"""What belongs to one event loop of one process: connections and the feed."""

from __future__ import annotations

import asyncio
import os
from typing import TYPE_CHECKING

from ._feed import Feed
from ._http import Origin, Pool

if TYPE_CHECKING:
    from collections.abc import Callable

    from ._feed import ReadFeed


class LoopState:
    """Opened at first use. The shutdown of the loop closes it, so that no connection outlives the loop."""

    def __init__(
        self, origin: Origin, connections: int, read: ReadFeed, cache: float, forget: Callable[[], object]
    ) -> None:
        self.process = os.getpid()
        self.loop = asyncio.get_running_loop()
        self.pool = Pool(origin, connections)
        self.log_pool = Pool(origin, connections)
        """For long polls, which must not take the place of other requests."""
        self.feed = Feed(read, cache)
        self._forget = forget
        self._keeper = self.loop.create_task(self._keep(), name="keyfob connections")

    async def _keep(self) -> None:
        """Waits for the shutdown of the loop, which cancels all tasks."""
        try:
            await self.loop.create_future()
        finally:
            self._forget()
            self.feed.close()
            self.pool.close()
            self.log_pool.close()

    async def close(self) -> None:
        """Closes the connections and ends the feed."""
        self._keeper.cancel()
        await asyncio.wait([self._keeper])
        await asyncio.sleep(0)  # lets the transports close
