"""Polls for a new model, blocklist and key file, and reports this worker's status."""

import asyncio
import logging
import os
import signal
import time
from contextlib import suppress
from dataclasses import replace
from multiprocessing import parent_process
from typing import Any

from service.auth.keys import BadKeys, Keys
from service.files import SHORTAGES
from service.reload.blocklist import BadBlocklist, read_blocklist
from service.reload.files import ReloadedFile
from service.reload.serving import ServedModel
from service.settings import Settings
from service.telemetry.metrics import BLOCKLIST_ENTRIES, BLOCKLIST_REFUSED
from service.telemetry.status import StatusDirectory, WorkerStatus

log = logging.getLogger("segue")

WAIT_S = 0.02
RETRY_S = 1.0  # between two polls while a trouble may pass
ROOM = "make room there, or name another directory in SEGUE_RUNTIME"
ANSWERING = ("ready", "degraded")


class Reloader:
    """
    Keeps one worker up to date.

    Attributes:
        keys: the keys that are accepted; None if the service needs no keys.
        stopping: True from the moment at which the worker is told to stop.
        unposted: why the workers cannot write their statuses; None if this one can.
    """

    def __init__(self, settings: Settings, model: ServedModel, statuses: StatusDirectory):
        self._model, self._statuses, self._interval_s = model, statuses, settings.watch_interval_s
        self._lock = asyncio.Lock()
        blocklist, keys = settings.blocklist, settings.keys
        self._blocklist = None if blocklist is None else ReloadedFile(blocklist, read_blocklist, BadBlocklist)
        self._key_file = None if keys is None else ReloadedFile(keys, Keys.read, BadKeys)
        self._blocked: frozenset[str] | None = None
        self._polled = False
        self.keys: Keys | None = None
        self.stopping = False
        self.unposted: str | None = None
        if self._key_file is not None:
            self._key_file.poll()
            self._accept_keys(self._key_file)
            if self._key_file.refusal:
                self._log("key file", self._key_file)

    @property
    def status(self) -> WorkerStatus:
        """The status of this worker."""
        manifest = self._model.manifest
        version, created_at = (None, None) if manifest is None else (manifest.version, manifest.created_at)
        if self.stopping:
            return WorkerStatus("stopping", version, "the service is stopping", created_at)
        files = (self._blocklist, self._key_file)
        refusals = [self._model.refusal, *(file.refusal for file in files if file)]
        reason = "; ".join(refusal for refusal in refusals if refusal) or None
        closed = manifest is None or (self._key_file is not None and self._key_file.content is None)
        return WorkerStatus("unready" if closed else "degraded" if reason else "ready", version, reason, created_at)

    @property
    def _is_unsettled(self) -> bool:
        files = (self._blocklist, self._key_file)
        return self._model.is_unsettled or any(file.is_unsettled for file in files if file)

    async def run(self) -> None:
        """Poll until cancelled."""
        while True:
            await self.poll()
            await asyncio.sleep(min(self._interval_s, RETRY_S) if self._is_unsettled else self._interval_s)

    async def poll(self, *, again: bool = False) -> None:
        """
        Poll once and put changes into use.

        Args:
            again: also read a version that was refused, although it has not changed.
        """
        async with self._lock:
            begun_s = time.monotonic()  # later changes may be missed
            try:
                await self._poll(again)
                self._write_status(begun_s)
            except Exception:  # the next poll may succeed
                log.exception("polling for changes failed")
            finally:
                self._polled = True

    async def settle(self) -> None:
        """
        Wait for the first poll, if another worker answers.

        A worker that accepts connections before it has a model refuses requests that the others would have answered.
        """
        while not self._polled and any(each.status in ANSWERING for each in self._statuses.read().values()):
            await asyncio.sleep(WAIT_S)

    async def reload_all(self, max_s: float) -> None:
        """Have all workers poll now, and wait for up to *max_s* seconds, as long as they can write their statuses."""
        begun_s = time.monotonic()
        supervisor = parent_process()
        if supervisor is not None and supervisor.pid == os.getppid():  # and not a process that adopted this one
            os.kill(supervisor.pid, signal.SIGHUP)  # which the supervisor sends to all workers
        with suppress(TimeoutError):
            async with asyncio.timeout(max_s):
                await asyncio.shield(self.poll(again=True))
                while self.unposted is None and any(each.polled_s < begun_s for each in self._statuses.read().values()):
                    await asyncio.sleep(WAIT_S)

    def stop(self) -> None:
        """Report from now on that this worker is stopping."""
        if not self.stopping:
            self.stopping = True
            self._write_status(time.monotonic())

    async def _poll(self, again: bool) -> None:
        if self._key_file is not None and await asyncio.to_thread(self._key_file.poll):
            self._log("key file", self._key_file)
            self._accept_keys(self._key_file)
        if self._blocklist is not None and not await self._poll_blocklist(self._blocklist):
            self._model.refusal = "no model is opened while the blocklist cannot be read"
            return
        await self._model.poll(again=again)

    async def _poll_blocklist(self, file: ReloadedFile[frozenset[str]]) -> bool:
        """Put the blocklist into use if it changed. Returns False if it could never be read."""
        if await asyncio.to_thread(file.poll):
            self._log("blocklist", file)
            BLOCKLIST_REFUSED.inc(file.refusal is not None)
        if file.content is not None and file.content is not self._blocked:  # comparing them would take long
            await self._model.block(file.content)
            self._blocked = file.content
            BLOCKLIST_ENTRIES.set(len(file.content))
        return file.content is not None

    def _accept_keys(self, file: ReloadedFile[Keys]) -> None:
        self.keys = file.content or Keys(keys=())  # without a readable file, no key is accepted

    def _write_status(self, polled_s: float) -> None:
        try:
            self._statuses.write(replace(self.status, polled_s=polled_s))
            self.unposted = None
        except OSError as error:  # requests are answered all the same
            before, remedy = self.unposted, SHORTAGES.get(error.errno or 0, ROOM)
            self.unposted = f"{error.filename}: {error.strerror}; {remedy}"
            if before is None:
                log.warning("requests are answered, and metrics show an old status of this worker: %s", self.unposted)

    def _log(self, name: str, file: ReloadedFile[Any]) -> None:
        if not file.refusal:
            log.info("the %s changed and is in use", name)
        elif file.content is None:
            log.error("no request is answered until the %s can be read: %s", name, file.refusal)
        else:
            log.error("the previous %s stays in use: %s", name, file.refusal)
