"""The one recommender that a process serves, and why there is none while there is none."""

import asyncio
import gc
import logging
from contextlib import suppress
from pathlib import Path

from service.engine import CorruptModel, ModelError, NoModel, Recommender, Store

log = logging.getLogger("segue")


class ServedModel:
    """
    Opens the current version of a store, in the background, as soon as there is one that can be opened.

    So the service can be started before the first model is published, answers while a large one is being verified,
    and says why it is not ready.
    """

    def __init__(self, models: Path, interval_s: float):
        self._store, self._interval_s = Store(models), interval_s
        self._recommender: Recommender | None = None
        self._reason = "the model is being opened"
        self._opening: asyncio.Task[None] | None = None

    def recommender(self) -> Recommender:
        """
        The recommender that answers.

        Raises:
            NoModel: none is open; the message says why.
        """
        if self._recommender is None:
            raise NoModel(self._reason)
        return self._recommender

    async def start(self) -> None:
        """Begin opening."""
        self._opening = asyncio.create_task(self._open())

    async def stop(self) -> None:
        """Stop opening, and close what is open."""
        if self._opening is not None:
            self._opening.cancel()
            with suppress(asyncio.CancelledError):
                await self._opening
        if self._recommender is not None:
            self._recommender.close()
            self._recommender = None

    async def _open(self) -> None:
        while self._recommender is None:
            stamp = self._store.stamp()
            try:
                self._recommender = await asyncio.to_thread(lambda: Recommender.open(self._store.current()))
            except CorruptModel as error:
                self._report(str(error))
                await self._changed(stamp)  # verifying a large model again and again would keep the machine busy
            except ModelError as error:
                self._report(str(error))
                await asyncio.sleep(self._interval_s)
            except Exception as error:  # whatever it was, the next version may be free of it
                log.exception("the model could not be opened")
                self._report(f"the model could not be opened: {error!r}")
                await asyncio.sleep(self._interval_s)
        # What is loaded by now stays; the collector need not walk it again and again while requests are answered.
        gc.collect()
        gc.freeze()
        log.info("serving version %s", self._recommender.manifest.version)

    async def _changed(self, stamp: tuple[object, ...]) -> None:
        while self._store.stamp() == stamp:
            await asyncio.sleep(self._interval_s)

    def _report(self, reason: str) -> None:
        if reason != self._reason:
            log.warning("not ready: %s", reason)
            self._reason = reason
