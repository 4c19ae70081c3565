"""Health, metrics, administration, and two answers that the web expects of any server."""

import asyncio
from http import HTTPStatus
from typing import Literal

from fastapi import APIRouter, Request, Response
from pydantic import BaseModel, Field

from service.api.authorization import needs
from service.api.errors import RETRY_AFTER
from service.api.problems import ANY, DENIED, problem, responses
from service.api.routing import Answer, state_of
from service.telemetry.metrics import CONTENT_TYPE, describe_metrics
from service.telemetry.status import Status

MAX_RELOAD_S = 15.0
METHODS = "GET, HEAD, OPTIONS, POST"
ROBOTS = "User-agent: *\nDisallow: /\n"

router = APIRouter(tags=["operations"])


class LiveResponse(BaseModel):
    """The process answers."""

    status: Literal["live"]


class ReadyResponse(BaseModel):
    """A model is served."""

    status: Literal["ready", "degraded"] = Field(
        description="`degraded` if something newer was refused and the previous state is still in use."
    )
    model: str
    reason: str | None = Field(None, description="Why it is degraded.")


class WorkerAnswer(BaseModel):
    """The status of a worker."""

    pid: int
    status: Status
    model: str | None


class ReloadResponse(BaseModel):
    """The status after a reload."""

    status: Status
    model: str | None
    reason: str | None = Field(description="Why it is not ready, or why the statuses of the workers may be old.")
    workers: list[WorkerAnswer] = Field(description="Status of each worker.")


@router.get("/health/live", response_model=LiveResponse, responses=ANY, dependencies=[needs(None)])
async def live() -> Response:
    """Return 200 if the process answers at all."""
    return Answer({"status": "live"})


@router.get(
    "/health/ready",
    response_model=ReadyResponse,
    responses=ANY | responses(_503="No model is open, or the service is stopping."),
    dependencies=[needs(None)],
)
async def ready(request: Request) -> Response:
    """Return 200 if a model is open. Gives the reason if not, and if it is not the newest one."""
    status = state_of(request).reloader.status
    if status.status in ("unready", "stopping"):
        return problem(HTTPStatus.SERVICE_UNAVAILABLE, str(status.reason), headers=RETRY_AFTER)
    answer = {"status": status.status, "model": status.version}
    return Answer(answer | {"reason": status.reason} if status.reason else answer)


@router.get(
    "/metrics",
    response_class=Response,
    responses={200: {"description": "Metrics of all workers.", "content": {"text/plain": {}}}, **DENIED},
    dependencies=[needs("metrics")],
)
async def metrics(request: Request) -> Response:
    """Return the metrics in Prometheus' format."""
    content = await asyncio.to_thread(describe_metrics, state_of(request).statuses)
    return Response(content, headers={"Content-Type": CONTENT_TYPE})


@router.post("/admin/reload", response_model=ReloadResponse, responses=DENIED, dependencies=[needs("admin")])
async def reload(request: Request) -> Response:
    """
    Look for a new model, blocklist and key file now, in all workers, and wait for them.

    A version that was refused is read once more.
    """
    state = state_of(request)
    # Opening a large model may take longer than a request may last. The answer then gives the status at that time.
    await state.reloader.reload_all(min(MAX_RELOAD_S, state.settings.request_timeout_s / 2))
    status = state.reloader.status
    workers = [
        {"pid": pid, "status": each.status, "model": each.version}
        for pid, each in sorted(state.statuses.read().items())
    ]
    unknown = state.reloader.unposted and f"the statuses of the workers may be old: {state.reloader.unposted}"
    reason = "; ".join(filter(None, (status.reason, unknown))) or None
    return Answer({"status": status.status, "model": status.version, "reason": reason, "workers": workers})


@router.options("*", include_in_schema=False, dependencies=[needs(None)])
async def options() -> Response:
    """Return the methods of the service: `OPTIONS *` asks if a server answers, as load balancers do."""
    return Response(status_code=HTTPStatus.NO_CONTENT, headers={"Allow": METHODS})


@router.get("/robots.txt", include_in_schema=False, dependencies=[needs(None)])
async def robots() -> Response:
    """Ask search engines to stay away."""
    return Response(ROBOTS, media_type="text/plain")
