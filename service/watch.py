"""Looks, every second or so, for what changed: the model, the blocklist, the keys; and posts how the worker stands."""

import asyncio
import logging
import time
from typing import Any

from service.access import Access, BadKeys, Keys
from service.blocklist import BadBlocklist, read_blocklist
from service.board import Board, Standing
from service.metrics import BLOCKLIST_ENTRIES, BLOCKLIST_REFUSED
from service.model import ServedModel
from service.settings import Settings
from service.watched import Watched

log = logging.getLogger("segue")

FOLLOW_S = 0.02
ANSWERING = ("ready", "degraded")


class Watch:
    """
    Keeps one worker up to date.

    Attributes:
        model: what it serves.
        access: who may ask what, by now.
        stopping: whether it is about to stop.
    """

    def __init__(self, settings: Settings, model: ServedModel, board: Board):
        self.model, self.access, self.stopping = model, Access(), False
        self._board, self._interval_s = board, settings.watch_interval_s
        self._lock = asyncio.Lock()
        self._blocklist, self._keys = _watch_blocklist(settings), _watch_keys(settings)
        self._in_force: frozenset[str] | None = None
        self._looked = False
        if self._keys is not None:  # as long as it could not be read nobody is let in
            self._keys.look()
            self.access = Access(self._keys.content or Keys())

    @property
    def standing(self) -> Standing:
        """How this worker stands."""
        manifest = self.model.manifest
        version, created_at = (None, None) if manifest is None else (manifest.version, manifest.created_at)
        if self.stopping:
            return Standing("stopping", version, "the service is stopping", created_at)
        files = (self._blocklist, self._keys)
        refusals = [self.model.refusal, *(file.refusal for file in files if file is not None)]
        reason = "; ".join(refusal for refusal in refusals if refusal) or None
        closed = manifest is None or (self._keys is not None and self._keys.content is None)
        return Standing("unready" if closed else "degraded" if reason else "ready", version, reason, created_at)

    async def run(self) -> None:
        """Look again and again."""
        while True:
            await self.look()
            await asyncio.sleep(self._interval_s)

    async def look(self, *, again: bool = False) -> None:
        """
        Look once, and take up what is found.

        Args:
            again: read a version that was refused once more, though nothing about it changed.
        """
        async with self._lock:
            begun = time.monotonic()  # what is published from now on it may miss
            try:
                await self._look(again)
                self._board.post(self.standing, begun)
            except Exception:  # a look that fails must not be the last
                log.exception("looking for what changed failed")
            finally:
                self._looked = True

    async def settle(self) -> None:
        """
        Wait for the first look to end, as long as another worker answers.

        Who takes connections before it has a model refuses what the others would have answered.
        """
        while not self._looked and any(post.standing.status in ANSWERING for post in self._board.read()):
            await asyncio.sleep(FOLLOW_S)

    async def follow(self, since_s: float, within_s: float) -> None:
        """Wait until every worker has begun to look after *since_s*, and ended, but no longer than *within_s*."""
        while any(post.looked_s < since_s for post in self._board.read()) and time.monotonic() < since_s + within_s:
            await asyncio.sleep(FOLLOW_S)

    def beat(self) -> None:
        """Show that this worker is not stuck."""
        self._board.beat()

    def stop(self) -> None:
        """Say from now on that this worker is stopping."""
        if not self.stopping:
            self.stopping = True
            self._board.post(self.standing, time.monotonic())

    async def _look(self, again: bool) -> None:
        if self._keys is not None and await asyncio.to_thread(self._keys.look):
            self._say("keys", self._keys)
            self.access = Access(self._keys.content or Keys())
        if self._blocklist is not None:
            if await asyncio.to_thread(self._blocklist.look):
                self._say("blocklist", self._blocklist)
                BLOCKLIST_REFUSED.inc(self._blocklist.refusal is not None)
            if self._blocklist.content is None:
                self.model.refusal = "no model is opened as long as the blocklist cannot be read"
                return
            if self._blocklist.content is not self._in_force:  # to compare them takes long
                await self.model.block(self._blocklist.content)
                self._in_force = self._blocklist.content
                BLOCKLIST_ENTRIES.set(len(self._in_force))
        await self.model.look(again=again)

    def _say(self, what: str, file: Watched[Any]) -> None:
        if not file.refusal:
            log.info("the %s changed and is in force", what)
        elif file.content is None:
            log.error("nobody is answered until the %s can be read: %s", what, file.refusal)
        else:
            log.error("what was there before stands: %s", file.refusal)


def _watch_blocklist(settings: Settings) -> Watched[frozenset[str]] | None:
    return None if settings.blocklist is None else Watched(settings.blocklist, read_blocklist, BadBlocklist)


def _watch_keys(settings: Settings) -> Watched[Keys] | None:
    return None if settings.keys is None else Watched(settings.keys, Keys.read, BadKeys)
