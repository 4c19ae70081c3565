"""What one application is made of, besides its routes."""

from dataclasses import dataclass
from typing import Self, cast

from fastapi import Request

from service.audit import Auditor
from service.board import Board
from service.model import ServedModel
from service.rates import RateLimits
from service.schemas import Schemas
from service.settings import Settings
from service.tracing import Tracer, open_tracer
from service.watch import Watch


@dataclass(frozen=True)
class Parts:
    """
    The parts of an application, each of which lives as long as it does.

    Attributes:
        settings: how it runs.
        schemas: what requests have to be.
        board: how all workers stand.
        watch: what this one serves, and who may ask.
        auditor: checks the index.
        rates: how often each key may ask.
        tracer: where spans go.
    """

    settings: Settings
    schemas: Schemas
    board: Board
    watch: Watch
    auditor: Auditor
    rates: RateLimits
    tracer: Tracer

    @classmethod
    def of(cls, settings: Settings) -> Self:
        """
        The parts that *settings* ask for.

        Raises:
            ModuleNotFoundError: traces are to be sent, and what sends them is not installed.
        """
        assert settings.runtime is not None
        board = Board(settings.runtime / "workers")
        model = ServedModel(settings.models, board)
        return cls(
            settings,
            Schemas.within(settings),
            board,
            Watch(settings, model, board),
            Auditor(model, settings.audit_share),
            RateLimits(settings.runtime),
            open_tracer(settings),
        )


def parts_of(request: Request) -> Parts:
    """The parts of the application that *request* came to."""
    return cast(Parts, request.app.state.parts)
