"""Spans of requests, sent to a collector of OTLP over HTTP."""

import sys
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from service.settings import Settings
from service.telemetry.tracing import open_tracer

TRACE, PARENT = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"


class Collector(ThreadingHTTPServer):
    """An HTTP server that keeps the spans it receives."""

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


def attributes(span: Span) -> dict[str, object]:
    return {a.key: a.value.string_value or a.value.int_value or a.value.double_value for a in span.attributes}


def test_each_request_is_a_span_without_its_content(serve: Callable[..., Any], collector: Collector):
    key = "segue_" + "k" * 43
    with serve(otlp_endpoint=collector.endpoint) as client:
        version = client.get("/model").json()["version"]
        body = {"tracks": ["secret"], "title": "secret", "k": 3}
        headers = {"X-Request-ID": "mine", "Authorization": f"Bearer {key}"}
        client.post("/recommend?secret=1", json=body, headers=headers)
        client.get("/secret", params={"secret": key})

    (recommend,) = [span for span in collector.spans if span.name == "POST /recommend"]
    assert recommend.kind == Span.SPAN_KIND_SERVER
    assert recommend.end_time_unix_nano > recommend.start_time_unix_nano
    found = attributes(recommend)
    assert found["segue.request_id"] == "mine"
    assert found["segue.model"] == version
    assert found["segue.strategy"] == "popular"
    assert found["http.response.status_code"] == 200
    assert [span.name for span in collector.spans].count("GET other") == 1
    everything = str(collector.received)
    assert "secret" not in everything
    assert key not in everything
    resource = {a.key: a.value.string_value for a in collector.received[0].resource_spans[0].resource.attributes}
    assert resource["service.name"] == "segue"


def test_a_span_continues_the_trace_of_its_request(serve: Callable[..., Any], collector: Collector):
    with serve(otlp_endpoint=collector.endpoint) as client:
        client.get("/health/live", headers={"traceparent": f"00-{TRACE}-{PARENT}-01"})
        client.get("/model", headers={"traceparent": "nonsense"})

    (continued,) = [span for span in collector.spans if span.name == "GET /health/live"]
    assert (continued.trace_id.hex(), continued.parent_span_id.hex()) == (TRACE, PARENT)
    (own,) = [span for span in collector.spans if span.name == "GET /model"]
    assert own.trace_id.hex() != TRACE
    assert own.parent_span_id == b""


def test_a_request_that_is_not_sampled_has_no_span(serve: Callable[..., Any], collector: Collector):
    with serve(otlp_endpoint=collector.endpoint) as client:
        client.get("/health/live", headers={"traceparent": f"00-{TRACE}-{PARENT}-00"})

    assert "GET /health/live" not in [span.name for span in collector.spans]


def test_a_missing_collector_changes_no_answer(serve: Callable[..., Any], collector: Collector):
    gone = collector.endpoint
    collector.server_close()
    with serve(otlp_endpoint=gone) as client:
        assert client.get("/model").status_code == 200


def test_without_an_endpoint_there_is_no_tracer():
    assert open_tracer(Settings()) is None


def test_without_the_extra_the_error_names_the_package_to_install(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, "opentelemetry.exporter.otlp.proto.http.trace_exporter", None)

    with pytest.raises(ModuleNotFoundError, match=r"SEGUE_OTLP_ENDPOINT is set.*pip install 'segue\[tracing\]'"):
        open_tracer(Settings(otlp_endpoint="http://127.0.0.1:1/v1/traces"))
