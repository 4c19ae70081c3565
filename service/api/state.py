"""The state of one application: the objects that live as long as it does."""

import shutil
import tempfile
import weakref
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from service.api.admission import Admission
from service.api.audit import Auditor
from service.auth.rates import RateLimits
from service.reload.reloader import Reloader
from service.reload.serving import ServedModel
from service.settings import Settings
from service.telemetry.status import StatusDirectory
from service.telemetry.tracing import OpenTelemetry, open_tracer


@dataclass(frozen=True)
class AppState:
    """
    The state of one application, `app.state.segue`.

    Attributes:
        settings: the settings of the process.
        statuses: the statuses of all workers.
        model: the served version.
        reloader: the polling for a new model, blocklist and key file.
        admission: the queue of the engine.
        rates: the rate limits of keys.
        auditor: the check of `/similar` against exact search.
        tracer: the recorder of spans, if traces are sent.
    """

    settings: Settings
    statuses: StatusDirectory
    model: ServedModel
    reloader: Reloader
    admission: Admission
    rates: RateLimits
    auditor: Auditor
    tracer: OpenTelemetry | None

    @classmethod
    def of(cls, settings: Settings) -> Self:
        """
        Create the state that *settings* describe; without a runtime directory, it creates one of its own.

        Raises:
            ModuleNotFoundError: traces are to be sent, and OpenTelemetry is not installed.
        """
        own = None if settings.runtime else tempfile.mkdtemp(prefix="segue-")
        runtime = settings.runtime or Path(str(own))
        statuses = StatusDirectory(runtime / "workers")
        model = ServedModel(settings.models, statuses)
        state = cls(
            settings,
            statuses,
            model,
            Reloader(settings, model, statuses),
            Admission(settings.max_waiting, settings.max_wait_s),
            RateLimits(runtime),
            Auditor(model, settings.audit_share),
            open_tracer(settings),
        )
        if own is not None:  # without a supervisor, which has a runtime directory
            weakref.finalize(state, shutil.rmtree, own, ignore_errors=True)
        return state
