"""Spans, to a collector of OTLP over HTTP, where one is configured."""

import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from fastapi.testclient import TestClient
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from service.app import create_app
from service.settings import Settings
from service.tracing import NoTracer, open_tracer

TRACE, PARENT = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"


class Collector(ThreadingHTTPServer):
    """Takes spans and keeps them."""

    def __init__(self) -> None:
        self.received: list[ExportTraceServiceRequest] = []
        received = self.received

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                received.append(ExportTraceServiceRequest.FromString(body))
                self.send_response(200)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *_: object) -> None:
                pass

        super().__init__(("127.0.0.1", 0), Handler)

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/v1/traces"

    @property
    def spans(self) -> list[Span]:
        resources = [resource for request in self.received for resource in request.resource_spans]
        return [span for resource in resources for scope in resource.scope_spans for span in scope.spans]


@pytest.fixture
def collector() -> Iterator[Collector]:
    with Collector() as found:
        thread = threading.Thread(target=found.serve_forever, args=(0.01,))
        thread.start()
        yield found
        found.shutdown()
        thread.join()


@contextmanager
def service(models: Path, endpoint: str | None) -> Iterator[TestClient]:
    """A service that is ready; at its end it has sent what there was to send."""
    with TestClient(create_app(Settings(models=models, watch_interval_s=0.01, otlp_endpoint=endpoint))) as opened:
        for _ in range(10_000):
            if opened.get("/health/ready").status_code == 200:
                break
        yield opened


def attributes(span: Span) -> dict[str, object]:
    return {a.key: a.value.string_value or a.value.int_value or a.value.double_value for a in span.attributes}


def test_each_request_is_a_span_that_says_what_became_of_it_and_not_what_was_asked(models: Path, collector: Collector):
    key = "segue_" + "k" * 43
    with service(models, collector.endpoint) as client:
        version = client.get("/model").json()["version"]
        asked = {"tracks": ["secret"], "title": "secret", "k": 3}
        headers = {"X-Request-ID": "mine", "Authorization": f"Bearer {key}"}
        client.post("/recommend?secret=1", json=asked, headers=headers)
        client.get("/secret", params={"secret": key})

    (recommend,) = [span for span in collector.spans if span.name == "POST /recommend"]
    assert recommend.kind == Span.SPAN_KIND_SERVER
    assert recommend.end_time_unix_nano > recommend.start_time_unix_nano
    said = attributes(recommend)
    assert said["segue.request_id"] == "mine"
    assert said["segue.model"] == version
    assert said["segue.strategy"] == "popular"
    assert said["http.response.status_code"] == 200
    assert [span.name for span in collector.spans].count("GET other") == 1
    everything = str(collector.received)
    assert "secret" not in everything
    assert key not in everything
    resource = {a.key: a.value.string_value for a in collector.received[0].resource_spans[0].resource.attributes}
    assert resource["service.name"] == "segue"


def test_a_trace_that_somebody_began_goes_on(models: Path, collector: Collector):
    with service(models, collector.endpoint) as client:
        client.get("/health/live", headers={"traceparent": f"00-{TRACE}-{PARENT}-01"})
        client.get("/model", headers={"traceparent": "nonsense"})

    (continued,) = [span for span in collector.spans if span.name == "GET /health/live"]
    assert (continued.trace_id.hex(), continued.parent_span_id.hex()) == (TRACE, PARENT)
    (own,) = [span for span in collector.spans if span.name == "GET /model"]
    assert own.trace_id.hex() != TRACE
    assert own.parent_span_id == b""


def test_who_asked_for_no_trace_gets_none(models: Path, collector: Collector):
    with service(models, collector.endpoint) as client:
        client.get("/health/live", headers={"traceparent": f"00-{TRACE}-{PARENT}-00"})

    assert "GET /health/live" not in [span.name for span in collector.spans]


def test_a_collector_that_is_not_there_harms_nobody(
    models: Path, collector: Collector, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_TIMEOUT", "1")  # for so many seconds it is tried at the end
    gone = collector.endpoint
    collector.server_close()
    with service(models, gone) as client:
        assert client.get("/model").status_code == 200


def test_without_an_endpoint_nothing_is_loaded_and_nothing_sent(models: Path):
    assert isinstance(open_tracer(Settings(models=models)), NoTracer)


def test_without_the_extra_the_error_says_what_to_install(models: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delitem(sys.modules, "service.otlp", raising=False)
    monkeypatch.setitem(sys.modules, "opentelemetry.exporter.otlp.proto.http.trace_exporter", None)

    with pytest.raises(ModuleNotFoundError, match=r"SEGUE_OTLP_ENDPOINT is set.*pip install 'segue\[tracing\]'"):
        open_tracer(Settings(models=models, otlp_endpoint="http://127.0.0.1:1/v1/traces"))
