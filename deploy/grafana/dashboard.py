"""
Generates `dashboards/segue.json`, the dashboard for Grafana: `python deploy/grafana/dashboard.py`.

One call for each panel is easier to read and to review than its forty lines of JSON.
"""

import json
from collections.abc import Iterator
from itertools import count
from pathlib import Path
from typing import Any

PATH = Path(__file__).parent / "dashboards" / "segue.json"

Json = dict[str, Any]

SOURCE: Json = {"type": "prometheus", "uid": "${datasource}"}
CHOSEN = 'job="$job", instance=~"$instance"'
WIDTH = 24  # of Grafana's grid
GREEN, YELLOW, RED, BLUE = "green", "#EAB839", "red", "blue"
STATUS_COLOURS = {"^2": GREEN, "^4": YELLOW, "^503": "orange", "^5(?!03)": RED}


def dashboard() -> Json:
    """Return the dashboard."""
    return {
        "uid": "segue",
        "title": "Segue",
        "description": "State and traffic of the service. docs/observability.md explains each metric and alert.",
        "tags": ["segue"],
        "timezone": "browser",
        "editable": True,
        "graphTooltip": 1,  # one crosshair over all panels
        "time": {"from": "now-1h", "to": "now"},
        "refresh": "15s",
        "schemaVersion": 41,
        "templating": {"list": variables()},
        "annotations": {"list": annotations()},
        "panels": laid_out(
            [
                ("", glance()),
                ("Traffic", traffic()),
                ("Latency", latency()),
                ("Overload", overload()),
                ("Model", model()),
                ("Workers", workers()),
            ]
        ),
    }


# The panels of each row.


def glance() -> list[Json]:
    """Return the panels that an engineer on call looks at first."""
    return [
        stat(
            "Workers ready",
            "Workers that serve a model, including degraded ones. Expected: SEGUE_WORKERS for each instance.",
            ask(f'sum(segue_workers{{{CHOSEN}, status=~"ready|degraded"}}) or vector(0)'),
            steps=[(RED, None), (GREEN, 1)],
        ),
        stat(
            "Requests",
            "Requests a second, including refused ones, without health and metrics.",
            ask(f"sum(rate({ANSWERED.format(route=WORK)}[$__rate_interval]))"),
            unit="reqps",
        ),
        stat(
            "Errors",
            "Share of responses with a status of 500 or above, except 503. SegueErrors: 1 %.",
            ask(f"{share_of(ERRORS)} or vector(0)"),
            unit="percentunit",
            steps=[(GREEN, None), (RED, 0.01)],
        ),
        stat(
            "Refused for overload",
            "Share of requests that were refused because the queue was full. SegueOverloaded: 5 %.",
            ask(f"{share_of(OVERLOAD)} or vector(0)"),
            unit="percentunit",
            steps=[(GREEN, None), (YELLOW, 0.005), (RED, 0.05)],
        ),
        stat(
            "p99 of /recommend",
            "99th percentile of successful requests. SegueSlow: 250 ms.",
            ask(quantile(0.99, 'status="200", route="/recommend"')),
            unit="s",
            steps=[(GREEN, None), (YELLOW, 0.1), (RED, 0.25)],
        ),
        stat(
            "Age of the model",
            "Time since the oldest served version was trained. SegueModelOld: three days.",
            ask(f"max(time() - (segue_model_created_timestamp_seconds{{{CHOSEN}}} != 0))"),
            unit="s",
            steps=[(GREEN, None), (YELLOW, 36 * 3600), (RED, 3 * 86400)],
        ),
        stat(
            "Recall of the index",
            "Share of the true neighbours that the index found, in audited requests. SegueRecallLow: 95 %.",
            ask(
                f"sum(increase(segue_audited_neighbours_found_total{{{CHOSEN}}}[6h]))"
                f" / (sum(increase(segue_audited_neighbours_total{{{CHOSEN}}}[6h])) > 0)"
            ),
            unit="percentunit",
            steps=[(RED, None), (YELLOW, 0.95), (GREEN, 0.97)],
        ),
        stat(
            "Unknown tracks",
            "Share of the tracks in requests that the model does not know, over one hour.",
            ask(unknown_share("1h", 'kind="tracks"')),
            unit="percentunit",
            steps=[(GREEN, None), (YELLOW, 0.2), (RED, 0.4)],
        ),
        timeline(
            "Alerts",
            "Firing alerts. docs/observability.md has a runbook for each.",
            ask('max by (alertname, severity) (ALERTS{alertname=~"Segue.+", alertstate="firing"})', "{{alertname}}"),
            mapping={"1": ("firing", RED)},
            size=(24, 4),
        ),
    ]


def traffic() -> list[Json]:
    """Return the panels of requests and their results."""
    by_status = f"sum by (status) (rate({ANSWERED.format(route=WORK)}[$__rate_interval]))"
    strategies = f'rate(segue_request_duration_seconds_count{{{CHOSEN}, strategy!=""}}[$__rate_interval])'
    return [
        series(
            "Requests by route",
            "Requests a second. `other` is every path without a route.",
            ask(f"sum by (route) (rate({ANSWERED.format(route=WORK)}[$__rate_interval]))", "{{route}}"),
            unit="reqps",
            stack="normal",
        ),
        series(
            "Requests by status",
            "Requests a second. 503 is a refusal, 429 a key over its rate, other 5xx are server errors.",
            ask(by_status, "{{status}}"),
            unit="reqps",
            stack="normal",
            colours=STATUS_COLOURS,
        ),
        series(
            "Strategies of /recommend",
            "`fold-in`: something in the playlist is known. `popular`: nothing is known.",
            ask(f"sum by (strategy) ({strategies})", "{{strategy}}"),
            unit="reqps",
            stack="percent",
        ),
        series(
            "Seeds by kind",
            "Tracks, artists and titles in requests, a second.",
            ask(f"sum by (kind) (rate(segue_seeds_total{{{CHOSEN}}}[$__rate_interval]))", "{{kind}}"),
            unit="cps",
        ),
    ]


def latency() -> list[Json]:
    """Return the panels of latency, without refusals: they are fast and would lower the percentiles."""
    answered = f'status="200", route=~"{WORK}"'
    buckets = f"segue_request_duration_seconds_bucket{{{CHOSEN}, {answered}}}"
    return [
        series(
            "Latency",
            "Percentiles of successful requests.",
            *(ask(quantile(q, answered), f"p{q * 100:.0f}") for q in (0.5, 0.9, 0.99)),
            unit="s",
            legend=["mean", "max", "lastNotNull"],
        ),
        series(
            "p99 by route",
            "99th percentile of successful requests. The line is the threshold of SegueSlow.",
            ask(quantile(0.99, answered, "route"), "{{route}}"),
            unit="s",
            legend=["mean", "max", "lastNotNull"],
            line=0.25,
        ),
        series(
            "p50 by route",
            "Median of successful requests.",
            ask(quantile(0.5, answered, "route"), "{{route}}"),
            unit="s",
            legend=["mean", "max", "lastNotNull"],
        ),
        heatmap(
            "Distribution of latency",
            "Successful requests by duration. Two bands are two kinds of work; a band that widens upwards is a queue.",
            ask(f"sum by (le) (increase({buckets}[$__rate_interval]))", "{{le}}", format="heatmap"),
        ),
    ]


def overload() -> list[Json]:
    """Return the panels of the queue and of refusals."""
    wait = f"sum by (le) (rate(segue_queue_wait_seconds_bucket{{{CHOSEN}}}[$__rate_interval]))"
    return [
        series(
            "In progress and waiting",
            "Requests in all workers. SEGUE_MAX_WAITING bounds the queue of each worker.",
            ask(f"sum(segue_requests_in_progress{{{CHOSEN}}})", "in progress"),
            ask(f"sum(segue_requests_waiting{{{CHOSEN}}})", "waiting"),
        ),
        series(
            "Wait for the engine",
            "Time in the queue. A request that waits for SEGUE_MAX_WAIT_S is refused.",
            *(ask(f"histogram_quantile({q}, {wait})", f"p{q * 100:.0f}") for q in (0.5, 0.9, 0.99)),
            unit="s",
            legend=["mean", "max", "lastNotNull"],
        ),
        series(
            "Refusals by reason",
            "Refusals a second. `overload` and `unready` are caused by the service, the others by clients.",
            ask(f"sum by (reason) (rate(segue_requests_refused_total{{{CHOSEN}}}[$__rate_interval]))", "{{reason}}"),
            unit="reqps",
            stack="normal",
        ),
        series(
            "Refused for overload",
            "Share of all requests. The line is the threshold of SegueOverloaded.",
            ask(share_of(OVERLOAD), "refused"),
            unit="percentunit",
            line=0.05,
        ),
    ]


def model() -> list[Json]:
    """Return the panels of the served model and of its fit to the requests."""
    audited = f"segue_audited_neighbours_total{{{CHOSEN}}}"
    found = f"segue_audited_neighbours_found_total{{{CHOSEN}}}"
    return [
        timeline(
            "Versions served",
            "Workers by version and status. After a publication or a rollback, all workers should switch at once.",
            ask(f"sum by (version, status) (segue_workers{{{CHOSEN}}}) > 0", "{{version}} {{status}}"),
        ),
        series(
            "Age",
            "Time since the oldest served version was trained.",
            ask(
                f"max by (instance) (time() - (segue_model_created_timestamp_seconds{{{CHOSEN}}} != 0))", "{{instance}}"
            ),
            unit="s",
            line=3 * 86400,
        ),
        series(
            "Versions opened and refused",
            "Each worker counts. After a refusal it is degraded, and the previous version stays in use.",
            ask(f"sum by (outcome) (increase(segue_reloads_total{{{CHOSEN}}}[$__rate_interval]))", "{{outcome}}"),
            draw="bars",
            colours={"served": GREEN, "refused": RED},
        ),
        series(
            "Recall of the index",
            "Share of the true neighbours, over one hour of audits. The line is the threshold of SegueRecallLow.",
            ask(f"sum by (kind) (increase({found}[1h])) / (sum by (kind) (increase({audited}[1h])) > 0)", "{{kind}}"),
            unit="percentunit",
            line=0.95,
            line_above=False,
        ),
        series(
            "Unknown seeds",
            "Share of seeds that the model does not know. It rises as a model ages; a client causes a jump.",
            ask(unknown_share("30m", "", "kind"), "{{kind}}"),
            unit="percentunit",
        ),
        series(
            "Blocklist",
            "Ids in use, and files that were refused.",
            ask(f"max(segue_blocklist_entries{{{CHOSEN}}})", "entries"),
            ask(f"sum(increase(segue_blocklist_refused_total{{{CHOSEN}}}[$__rate_interval]))", "refused"),
            colours={"refused": RED},
        ),
    ]


def workers() -> list[Json]:
    """Return the panels of the processes."""
    return [
        timeline(
            "Instances",
            "Instances whose /metrics answers.",
            ask(f"up{{{CHOSEN}}}", "{{instance}}"),
            mapping={"0": ("down", RED), "1": ("up", GREEN)},
        ),
        series(
            "Workers that died",
            "Workers do not exit by themselves. Each is replaced within about a second.",
            ask(
                f"sum by (instance) (increase(segue_worker_deaths_total{{{CHOSEN}}}[$__rate_interval]))", "{{instance}}"
            ),
            draw="bars",
        ),
        series(
            "Memory of each worker",
            "Private memory; it should be flat. The files of the model are shared and not counted.",
            ask(f"segue_worker_memory_bytes{{{CHOSEN}}}", "{{instance}} {{worker}}"),
            unit="bytes",
        ),
        series(
            "Release",
            "Instances by release of the service.",
            ask(f"count by (version) (segue_build_info{{{CHOSEN}}})", "{{version}}"),
            stack="normal",
        ),
    ]


# Queries. Health and metrics are left out.

WORK = "/recommend|/similar|/search|/model|/admin/reload|other"
ANSWERED = f'segue_request_duration_seconds_count{{{{{CHOSEN}, route=~"{{route}}"}}}}'
ERRORS = f'segue_request_duration_seconds_count{{{CHOSEN}, status=~"5..", status!="503"}}'
OVERLOAD = f'segue_requests_refused_total{{{CHOSEN}, reason="overload"}}'


def share_of(counter: str) -> str:
    """Return the query of *counter* as a share of all requests."""
    every = f"segue_request_duration_seconds_count{{{CHOSEN}}}"
    return f"sum(rate({counter}[$__rate_interval])) / (sum(rate({every}[$__rate_interval])) > 0)"


def unknown_share(window: str, matcher: str, *by: str) -> str:
    """Return the query of the share of unknown seeds over *window*."""
    group = f" by ({', '.join(by)})" if by else ""
    every = ", ".join(part for part in (CHOSEN, matcher) if part)
    return (
        f'sum{group} (increase(segue_seeds_total{{{every}, known="false"}}[{window}]))'
        f" / (sum{group} (increase(segue_seeds_total{{{every}}}[{window}])) > 0)"
    )


def quantile(q: float, matcher: str, *by: str) -> str:
    """Return the query of the quantile *q* of the duration of the requests that *matcher* selects."""
    buckets = f"segue_request_duration_seconds_bucket{{{CHOSEN}, {matcher}}}"
    return f"histogram_quantile({q}, sum by ({', '.join((*by, 'le'))}) (rate({buckets}[$__rate_interval])))"


def ask(expression: str, legend: str = "", **more: Any) -> Json:
    """Return a query."""
    return {
        "datasource": SOURCE,
        "editorMode": "code",
        "expr": expression,
        "legendFormat": legend or "__auto",
        "range": True,
        **more,
    }


# Kinds of panels.


def stat(
    title: str, description: str, query: Json, unit: str = "none", steps: list[tuple[str, float | None]] | None = None
) -> Json:
    """Return a panel with one number, coloured by *steps*: colours, each with its lowest value."""
    defaults = {"unit": unit, "color": {"mode": "thresholds"}, "thresholds": thresholds(steps or [(BLUE, None)])}
    options = {
        "reduceOptions": {"calcs": ["lastNotNull"], "fields": "", "values": False},
        "colorMode": "value",
        "graphMode": "area",
        "justifyMode": "auto",
        "orientation": "auto",
        "textMode": "auto",
        "wideLayout": True,
    }
    return panel("stat", title, description, [query], defaults, options, size=(3, 4))


def series(
    title: str,
    description: str,
    *queries: Json,
    unit: str = "short",
    stack: str = "none",
    draw: str = "line",
    legend: list[str] | None = None,
    colours: dict[str, str] | None = None,
    line: float | None = None,
    line_above: bool = True,
) -> Json:
    """Return a panel of curves over time. *line* draws a threshold, with the bad side in red."""
    custom = {
        "drawStyle": draw,
        "lineWidth": 1,
        "fillOpacity": 60 if draw == "bars" else 25 if stack != "none" else 8,
        "showPoints": "never",
        "stacking": {"mode": stack, "group": "A"},
        "thresholdsStyle": {"mode": "off" if line is None else "line"},
    }
    beyond = [("transparent", None), (RED, line)] if line_above else [(RED, None), ("transparent", line)]
    defaults = {
        "unit": unit,
        "min": None if line is not None and not line_above else 0,
        "color": {"mode": "palette-classic"},
        "custom": custom,
        "thresholds": thresholds(beyond if line is not None else [(GREEN, None)]),
    }
    options = {
        "legend": {
            "displayMode": "table" if legend else "list",
            "placement": "bottom",
            "showLegend": True,
            "calcs": legend or [],
        },
        "tooltip": {"mode": "multi", "sort": "desc"},
    }
    overrides = [
        {
            "matcher": {"id": "byRegexp", "options": f"/{pattern}/"},
            "properties": [{"id": "color", "value": {"mode": "fixed", "fixedColor": colour}}],
        }
        for pattern, colour in (colours or {}).items()
    ]
    return panel("timeseries", title, description, list(queries), defaults, options, overrides)


def heatmap(title: str, description: str, query: Json) -> Json:
    """Return a panel with a histogram over time."""
    options = {
        "calculate": False,
        "color": {
            "mode": "scheme",
            "scheme": "Oranges",
            "fill": "dark-orange",
            "steps": 64,
            "exponent": 0.5,
            "reverse": False,
        },
        "cellGap": 1,
        "filterValues": {"le": 1e-9},
        "rowsFrame": {"layout": "auto"},
        "yAxis": {"axisPlacement": "left", "unit": "s", "reverse": False},
        "showValue": "never",
        "legend": {"show": True},
        "exemplars": {"color": "rgba(255,0,255,0.7)"},
        "tooltip": {"mode": "single", "yHistogram": True},
    }
    return panel("heatmap", title, description, [query], {"custom": {}}, options)


def timeline(
    title: str,
    description: str,
    query: Json,
    mapping: dict[str, tuple[str, str]] | None = None,
    size: tuple[int, int] = (12, 8),
) -> Json:
    """Return a panel of states over time, one bar a row. *mapping* gives values words and colours."""
    words = {
        value: {"text": text, "color": colour, "index": i}
        for i, (value, (text, colour)) in enumerate((mapping or {}).items())
    }
    defaults = {
        "unit": "none",
        "color": {"mode": "thresholds" if mapping else "palette-classic"},
        "mappings": [{"type": "value", "options": words}] if words else [],
        "custom": {"lineWidth": 0, "fillOpacity": 75},
        "thresholds": thresholds([(GREEN, None)]),
    }
    options = {
        "mergeValues": True,
        "showValue": "auto",
        "alignValue": "center",
        "rowHeight": 0.85,
        "legend": {"displayMode": "list", "placement": "bottom", "showLegend": False, "calcs": []},
        "tooltip": {"mode": "single", "sort": "none"},
    }
    return panel("state-timeline", title, description, [query], defaults, options, size=size)


def panel(
    kind: str,
    title: str,
    description: str,
    queries: list[Json],
    defaults: Json,
    options: Json,
    overrides: list[Json] | None = None,
    size: tuple[int, int] = (12, 8),
) -> Json:
    """Return a panel of any *kind*, without its place."""
    defaults = {name: value for name, value in defaults.items() if value is not None}
    return {
        "type": kind,
        "title": title,
        "description": description,
        "datasource": SOURCE,
        "targets": [{"refId": chr(ord("A") + i), **query} for i, query in enumerate(queries)],
        "fieldConfig": {"defaults": defaults, "overrides": overrides or []},
        "options": options,
        "gridPos": {"x": 0, "y": 0, "w": size[0], "h": size[1]},
    }


def thresholds(steps: list[tuple[str, float | None]]) -> Json:
    """Return thresholds: colours, each with its lowest value."""
    return {"mode": "absolute", "steps": [{"color": colour, "value": value} for colour, value in steps]}


# Variables, annotations and layout.


def variables() -> list[Json]:
    """Return the variables at the top."""

    def of_label(name: str, label: str, definition: str, **more: Any) -> Json:
        query = {"query": definition, "refId": name, "qryType": 1}
        return {
            "name": name,
            "label": label,
            "type": "query",
            "datasource": SOURCE,
            "definition": definition,
            "query": query,
            "refresh": 2,
            "sort": 1,
            **more,
        }

    return [
        {"name": "datasource", "label": "Data source", "type": "datasource", "query": "prometheus", "refresh": 1},
        of_label("job", "Job", "label_values(segue_build_info, job)"),
        of_label(
            "instance",
            "Instance",
            'label_values(segue_build_info{job="$job"}, instance)',
            multi=True,
            includeAll=True,
            allValue=".*",
            current={"text": ["All"], "value": ["$__all"]},
        ),
    ]


def annotations() -> list[Json]:
    """Return the events that are drawn over all panels."""

    def event(name: str, colour: str, expression: str) -> Json:
        return {
            "name": name,
            "enable": True,
            "datasource": SOURCE,
            "iconColor": colour,
            "titleFormat": name,
            "textFormat": "{{instance}}",
            "target": {
                "refId": "Anno",
                "expr": f"sum by (instance) (increase({expression}[1m])) > 0",
                "interval": "1m",
            },
        }

    return [
        event("Opened a version", BLUE, f'segue_reloads_total{{{CHOSEN}, outcome="served"}}'),
        event("Refused a version", RED, f'segue_reloads_total{{{CHOSEN}, outcome="refused"}}'),
        event("A worker died", "orange", f"segue_worker_deaths_total{{{CHOSEN}}}"),
    ]


def laid_out(rows: list[tuple[str, list[Json]]]) -> list[Json]:
    """Return the panels of all *rows* in reading order, with their places and ids."""
    ids = count(1)
    return [{"id": next(ids), **each} for each in _placed(rows)]


def _placed(rows: list[tuple[str, list[Json]]]) -> Iterator[Json]:
    top = 0
    for title, panels in rows:
        if title:
            place = {"x": 0, "y": top, "w": WIDTH, "h": 1}
            yield {"type": "row", "title": title, "collapsed": False, "gridPos": place, "panels": []}
            top += 1
        left = height = 0
        for each in panels:
            width = each["gridPos"]["w"]
            if left + width > WIDTH:
                left, top = 0, top + height
            height = each["gridPos"]["h"]
            yield {**each, "gridPos": {"x": left, "y": top, "w": width, "h": height}}
            left += width
        top += height


if __name__ == "__main__":
    PATH.write_text(json.dumps(dashboard(), indent=2) + "\n")
