"""How much of the truth the index of neighbours finds, for questions that are really asked."""

import asyncio
import logging
import random
from collections.abc import Sequence

from service.engine import EngineError, Kind
from service.metrics import AUDITED, AUDITED_FOUND
from service.model import ServedModel, gently

log = logging.getLogger("segue")


class Auditor:
    """Checks a *share* of the questions against exact search, one at a time, behind the requests."""

    def __init__(self, model: ServedModel, share: float):
        self._model, self._share = model, share
        self._running: asyncio.Task[None] | None = None

    def consider(self, kind: Kind, seeds: Sequence[str], k: int) -> None:
        """Perhaps check what the *k* neighbours of *seeds* are; a question that comes during a check is let go."""
        if random.random() < self._share and (self._running is None or self._running.done()):
            self._running = asyncio.get_running_loop().create_task(self._audit(kind, seeds, k))

    async def stop(self) -> None:
        """Wait for the check that is running."""
        if self._running is not None:
            await self._running

    async def _audit(self, kind: Kind, seeds: Sequence[str], k: int) -> None:
        try:
            with self._model.lend() as recommender:
                true, found = await gently(recommender.neighbour_audit(kind, seeds, k))
        except EngineError:  # the version changed, and does not know them
            return
        except Exception:  # an audit is never a reason to fail anything else
            log.exception("an audit failed")
            return
        AUDITED.labels(kind).inc(true)
        AUDITED_FOUND.labels(kind).inc(found)
