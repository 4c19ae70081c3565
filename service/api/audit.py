"""Measures the recall of the neighbour index on real requests."""

import asyncio
import logging
import random
from collections.abc import Sequence

from service.engine import EngineError, Kind
from service.reload.serving import ServedModel, run_gently
from service.telemetry.metrics import AUDITED, AUDITED_FOUND

log = logging.getLogger("segue")


class Auditor:
    """Compares a *share* of the `/similar` requests with exact search, one at a time, in the background."""

    def __init__(self, model: ServedModel, share: float):
        self._model, self._share = model, share
        self._running: asyncio.Task[None] | None = None

    def consider(self, kind: Kind, seeds: Sequence[str], k: int) -> None:
        """Perhaps audit the *k* neighbours of *seeds*. Requests during an audit are not audited."""
        if random.random() < self._share and (self._running is None or self._running.done()):
            self._running = asyncio.get_running_loop().create_task(self._audit(kind, seeds, k))

    async def stop(self) -> None:
        """Wait for the running audit."""
        if self._running is not None:
            await self._running

    async def _audit(self, kind: Kind, seeds: Sequence[str], k: int) -> None:
        try:
            with self._model.lend() as recommender:
                true, found = await run_gently(recommender.neighbour_audit(kind, seeds, k))
        except EngineError:  # another version is served now, and does not know the seeds
            return
        except Exception:  # an audit must not disturb anything else
            log.exception("an audit failed")
            return
        AUDITED.labels(kind).inc(true)
        AUDITED_FOUND.labels(kind).inc(found)
