"""
The files of the deployment, checked by the tools that read them: `make test-deploy`.

Prometheus checks its configuration, rules and expressions, and fills each panel from an exporter with all metrics of
the service. The schemas of Kubernetes, Compose and Grafana check the rest. tests/compose.py starts the containers.
"""

import json
import os
import re
import runpy
import shutil
import subprocess
import sys
import threading
import time
import typing
import warnings
from collections.abc import Iterator
from contextlib import suppress
from enum import Enum
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from socket import create_server
from typing import Any

import httpx
import kubernetes_validate
import pytest
import yaml
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.cog.plugins import register_default_plugins
from pydantic import ConfigDict, TypeAdapter, ValidationError

from service.app import create_app
from service.server.supervisor import KILL_AFTER_S
from service.settings import Settings
from trainer.cli import NOT_PUBLISHED

with warnings.catch_warnings(action="ignore"):  # the library prefers a newer format
    from grafana_foundation_sdk.models.dashboard import Dashboard

ROOT = Path(__file__).parents[1]
DEPLOY = ROOT / "deploy"
PROMETHEUS = DEPLOY / "prometheus"
KUBERNETES = DEPLOY / "kubernetes"
DASHBOARD = DEPLOY / "grafana" / "dashboards" / "segue.json"
COMPOSE = ROOT / "docker-compose.yml"
WITH_KEYS = DEPLOY / "compose.keys.yml"

needs_promtool = pytest.mark.skipif(
    shutil.which("promtool") is None, reason="no promtool: apt-get install --no-install-recommends prometheus"
)
needs_compose = pytest.mark.skipif(
    shutil.which("docker") is None
    or subprocess.run(["docker", "compose", "version"], capture_output=True, check=False).returncode != 0,
    reason="no docker compose",
)
needs_kubectl = pytest.mark.skipif(shutil.which("kubectl") is None, reason="no kubectl")

Json = dict[str, Any]


def read(path: Path) -> Any:
    return yaml.safe_load(path.read_text())


def run(*command: object, cwd: Path = ROOT, **environment: str) -> str:
    done = subprocess.run(
        [str(part) for part in command],
        cwd=cwd,
        env={**os.environ, **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    assert done.returncode == 0, f"{' '.join(map(str, command))} exited with {done.returncode}:\n{done.stdout}"
    return done.stdout


def nodes(value: Any) -> Iterator[Json]:
    """Return all mappings in *value*, at any depth."""
    if isinstance(value, dict):
        yield value
    for inner in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        yield from nodes(inner)


# Metrics of docs/observability.md; tests/test_docs.py compares that table with the code.

METRICS: dict[str, tuple[str, set[str]]] = {
    name: (kind, set(re.findall(r"`(\w+)`", labels)))
    for name, kind, labels in re.findall(
        r"^\| `(segue_\w+)` \| (\w+) \| ([^|]*)\|", (ROOT / "docs" / "observability.md").read_text(), flags=re.MULTILINE
    )
}
RULES = [
    rule for file in ("recording.yml", "alerts.yml") for g in read(PROMETHEUS / file)["groups"] for rule in g["rules"]
]
ALERTS = [rule for rule in RULES if "alert" in rule]
PROMETHEUS_OWN = {"up": set(), "ALERTS": {"alertname", "alertstate", "severity"}}


def exported() -> dict[str, set[str]]:
    """Return the names of all series, each with its labels."""
    series = {name: labels for name, (kind, labels) in METRICS.items() if kind != "histogram"}
    for name, (kind, labels) in METRICS.items():
        if kind == "histogram":
            series |= {f"{name}_count": labels, f"{name}_sum": labels, f"{name}_bucket": labels | {"le"}}
    recorded = {rule["record"]: {"route", "kind"} for rule in RULES if "record" in rule}
    return {name: labels | {"job", "instance"} for name, labels in (series | recorded | PROMETHEUS_OWN).items()}


def panels() -> list[Json]:
    return [panel for panel in json.loads(DASHBOARD.read_text())["panels"] if panel["type"] != "row"]


def expressions_of_the_dashboard() -> list[str]:
    """Return all expressions of the dashboard, with values for its variables."""
    found = [node["expr"] for node in nodes(json.loads(DASHBOARD.read_text())) if "expr" in node]
    return [filled_in(expression) for expression in found]


def filled_in(expression: str, window: str = "1m") -> str:
    return expression.replace("$__rate_interval", window).replace("$job", "segue").replace("$instance", ".*")


def expressions() -> list[str]:
    return [rule["expr"] for rule in RULES] + expressions_of_the_dashboard()


def series_in(expression: str) -> Iterator[tuple[str, set[str]]]:
    """Return the series in *expression*, each with the labels that it matches."""
    bare = re.sub(r"\"[^\"]*\"|'[^']*'", '""', expression)
    for name, matchers in re.findall(r"\b(segue[_:][\w:]+|up|ALERTS)\b(?:\{([^}]*)\})?", bare):
        yield name, set(re.findall(r"(\w+)\s*(?:=~|!~|!=|=)", matchers))


def test_the_documented_metrics_are_well_named():
    assert len(METRICS) > 10
    for name, (kind, _) in METRICS.items():
        assert kind in ("counter", "gauge", "histogram"), name
        assert name.endswith("_total") == (kind == "counter"), name


@needs_promtool
def test_prometheus_accepts_its_configuration():
    run("promtool", "check", "config", "--lint=all", "--lint-fatal", PROMETHEUS / "prometheus.yml")


@needs_promtool
def test_prometheus_accepts_the_rules():
    files = [PROMETHEUS / name for name in read(PROMETHEUS / "prometheus.yml")["rule_files"]]

    said = run("promtool", "check", "rules", "--lint=all", "--lint-fatal", *files)

    assert sum(map(int, re.findall(r"(\d+) rules found", said))) == len(RULES)


@needs_promtool
def test_alerts_fire_in_their_scenarios_only():
    run("promtool", "test", "rules", PROMETHEUS / "alerts_test.yml")


def test_each_alert_has_a_scenario_in_which_it_fires():
    expected = re.findall(r'alertname="(\w+)"', (PROMETHEUS / "alerts_test.yml").read_text())

    assert {rule["alert"] for rule in ALERTS} == set(expected)


def test_scenarios_use_existing_series():
    series = exported()

    for node in nodes(read(PROMETHEUS / "alerts_test.yml")):
        for name, labels in series_in(node.get("series", "")):
            assert labels <= series[name], node["series"]


@pytest.mark.parametrize("rule", ALERTS, ids=lambda rule: rule["alert"])
def test_an_alert_has_a_severity_and_a_section_in_the_runbook(rule: Json):
    path, _, anchor = rule["annotations"]["runbook_url"].partition("#")
    headings = re.findall(r"^### (\w+)$", (ROOT / path).read_text(), flags=re.MULTILINE)

    assert rule["labels"]["severity"] in ("page", "ticket")
    assert {"summary", "description"} <= set(rule["annotations"])
    assert rule["alert"] in headings
    assert anchor == rule["alert"].lower()


def test_the_runbook_describes_existing_alerts_only():
    text = (ROOT / "docs" / "observability.md").read_text()

    assert set(re.findall(r"^### (Segue\w+)$", text, flags=re.MULTILINE)) == {rule["alert"] for rule in ALERTS}


@needs_promtool
def test_every_expression_of_the_dashboard_is_valid_promql(tmp_path: Path):
    rules = [{"record": f"panel:{i}", "expr": expr} for i, expr in enumerate(expressions_of_the_dashboard())]
    path = tmp_path / "dashboard.yml"
    path.write_text(yaml.safe_dump({"groups": [{"name": "dashboard", "rules": rules}]}))

    assert f"{len(rules)} rules found" in run("promtool", "check", "rules", path)


@pytest.mark.parametrize("expression", expressions())
def test_an_expression_uses_existing_series_and_labels(expression: str):
    series = exported()
    asked = list(series_in(expression))
    known = set().union(*(series[name] for name, _ in asked))

    for name, labels in asked:
        assert labels <= series[name], name
    for grouping in re.findall(r"\b(?:by|on|without|ignoring)\s*\(([^)]*)\)", expression):
        assert set(re.findall(r"\w+", grouping)) <= known
    assert asked


def test_every_metric_is_on_the_dashboard_or_in_a_rule():
    asked = {name for expression in expressions() for name, _ in series_in(expression)}
    bare = {re.sub(r"_(bucket|count|sum)$", "", name) for name in asked}

    assert set(METRICS) <= bare


# A real Prometheus, for some seconds.


def exposition(seconds: float) -> str:
    """Return the metrics after *seconds* with a hundred requests and a dead worker in each."""
    samples = {
        "route": "/recommend",
        "status": "200",
        "strategy": "fold-in",
        "reason": "overload",
        "kind": "tracks",
        "known": "false",
        "version": "v1",
        "outcome": "served",
        "worker": "1",
    }
    lines = []
    for name, (kind, labels) in METRICS.items():
        # `status` is the status of HTTP, but of a worker here.
        values = {
            label: "ready" if (name, label) == ("segue_workers", "status") else samples[label] for label in labels
        }
        own = ",".join(f'{label}="{value}"' for label, value in values.items())
        total = 100 * seconds
        lines.append(f"# TYPE {name} {kind}")
        if kind == "histogram":
            for bound, share in (("0.005", 0.5), ("0.1", 0.9), ("+Inf", 1.0)):
                lines.append(f'{name}_bucket{{{own}{"," if own else ""}le="{bound}"}} {total * share}')
            lines += [f"{name}_count{{{own}}} {total}", f"{name}_sum{{{own}}} {total * 0.01}"]
        else:
            lines.append(f"{name}{{{own}}} {total if kind == 'counter' else 1}")
    return "\n".join(lines) + "\n"


@pytest.fixture(scope="module")
def exporter() -> Iterator[str]:
    """The address of an exporter with all metrics of the service."""
    began = time.monotonic()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Type", "text/plain; version=0.0.4")
            self.end_headers()
            self.wfile.write(exposition(time.monotonic() - began).encode())

        def log_message(self, *_: object) -> None: ...

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture(scope="module")
def prometheus(exporter: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    """A Prometheus that scrapes *exporter* with our configuration and short intervals."""
    if shutil.which("prometheus") is None:
        pytest.skip("no prometheus: apt-get install --no-install-recommends prometheus")
    directory = tmp_path_factory.mktemp("prometheus")
    text = (PROMETHEUS / "prometheus.yml").read_text().replace("15s", "1s").replace("service:8000", exporter)
    (directory / "prometheus.yml").write_text(text)
    for name in read(PROMETHEUS / "prometheus.yml")["rule_files"]:
        shutil.copy(PROMETHEUS / name, directory)
    with create_server(("127.0.0.1", 0)) as free:
        address = f"127.0.0.1:{free.getsockname()[1]}"
    options = [f"--config.file={directory}/prometheus.yml", f"--storage.tsdb.path={directory}/data"]
    with (directory / "log").open("w") as log:
        process = subprocess.Popen(["prometheus", *options, f"--web.listen-address={address}"], stderr=log)
    try:
        # Until its storage is open, it answers 503 in plain text.
        assert eventually(lambda: httpx.get(f"http://{address}/-/ready").status_code, 200) == 200
        with httpx.Client(base_url=f"http://{address}/api/v1") as client:
            yield client
    finally:
        process.terminate()
        process.wait(20)
        print((directory / "log").read_text()[-2000:])


def eventually(find: typing.Callable[[], Any], wanted: Any) -> Any:
    """Call *find* until it returns *wanted*, for half a minute at most, and return its last result."""
    deadline = time.monotonic() + 30
    found = None
    while found != wanted and time.monotonic() < deadline:
        with suppress(httpx.TransportError):
            found = find()
        time.sleep(0.25)
    return found


def test_a_real_prometheus_fills_every_panel(prometheus: httpx.Client):
    asked = {
        f"{panel['title']}: {target['expr']}": filled_in(target["expr"], "5s")
        for panel in panels()
        for target in panel["targets"]
    }

    def empty() -> list[str]:
        answers = {name: prometheus.get("/query", params={"query": expr}).json() for name, expr in asked.items()}
        return [name for name, answer in answers.items() if not answer["data"]["result"]]

    assert len(asked) > 25
    assert eventually(empty, []) == []


def test_a_real_prometheus_evaluates_every_rule(prometheus: httpx.Client):
    def health() -> set[str]:
        groups = prometheus.get("/rules").json()["data"]["groups"]
        return {f"{rule['name']}: {rule['health']}" for group in groups for rule in group["rules"]}

    names = {rule.get("alert") or rule["record"] for rule in RULES}

    assert eventually(health, {f"{name}: ok" for name in names}) == {f"{name}: ok" for name in names}


# Grafana.


@pytest.fixture(scope="module")
def written() -> Json:
    return json.loads(DASHBOARD.read_text())


@pytest.fixture(scope="module")
def understood(written: Json) -> Dashboard:
    """The dashboard as read by Grafana's library."""
    register_default_plugins()
    return Dashboard.from_json(written)


def test_the_dashboard_is_the_output_of_its_script(written: Json):
    assert runpy.run_path(str(DEPLOY / "grafana" / "dashboard.py"))["dashboard"]() == written


def test_grafana_knows_every_field_of_the_dashboard(written: Json, understood: Dashboard):
    assert list(lost(written, json.loads(json.dumps(understood, cls=JSONEncoder)))) == []


def lost(before: Any, after: Any, where: str = "$") -> Iterator[str]:
    """Return the fields of *before* that *after* lacks, because the library does not know them."""
    if isinstance(before, dict) and isinstance(after, dict):
        for name, value in before.items():
            yield from lost(value, after[name], f"{where}.{name}") if name in after else [f"{where}.{name}"]
    elif isinstance(before, list) and isinstance(after, list) and len(before) == len(after):
        for i, pair in enumerate(zip(before, after, strict=True)):
            yield from lost(*pair, f"{where}[{i}]")
    elif before != after:
        yield f"{where}: {before!r} became {after!r}"


def test_every_value_of_the_dashboard_has_the_type_of_its_field(understood: Dashboard):
    assert list(mistyped(understood)) == []


def mistyped(value: Any, where: str = "$") -> Iterator[str]:
    """Return the values in *value* without the declared type of their field, which the library does not check."""
    if isinstance(value, list):
        for i, item in enumerate(value):
            yield from mistyped(item, f"{where}[{i}]")
    elif type(value).__module__.startswith("grafana_foundation_sdk") and not isinstance(value, Enum):
        declared = typing.get_type_hints(type(value))
        for name, item in vars(value).items():
            if item is not None and name in declared:
                try:
                    TypeAdapter(declared[name], config=ConfigDict(arbitrary_types_allowed=True)).validate_python(item)
                except ValidationError as error:
                    yield f"{where}.{name}: {error}"
                yield from mistyped(item, f"{where}.{name}")


@pytest.mark.parametrize("panel", panels(), ids=lambda panel: panel["title"])
def test_a_panel_has_a_description_and_a_unit(panel: Json):
    assert panel["type"] in ("stat", "timeseries", "state-timeline", "heatmap")
    assert len(panel["description"]) > 20
    assert panel["options"].get("yAxis", {}).get("unit") or panel["fieldConfig"]["defaults"]["unit"]
    for target in panel["targets"]:
        assert target["datasource"]["uid"] == "${datasource}"
        assert "$job" in target["expr"] or "ALERTS" in target["expr"]


def test_panels_have_distinct_ids_and_do_not_overlap(written: Json):
    places = [panel["gridPos"] for panel in written["panels"]]
    cells = [(p["x"] + x, p["y"] + y) for p in places for x in range(p["w"]) for y in range(p["h"])]

    assert len({panel["id"] for panel in written["panels"]}) == len(written["panels"])
    assert len(set(cells)) == len(cells)
    assert max(x for x, _ in cells) < 24


def test_grafana_finds_the_dashboard_and_its_data_source():
    grafana = read(COMPOSE)["services"]["grafana"]
    mounted = dict(volume.split(":")[:2] for volume in grafana["volumes"])
    (provider,) = read(DEPLOY / "grafana" / "dashboards" / "segue.yml")["providers"]
    (source,) = read(DEPLOY / "grafana" / "datasources" / "prometheus.yml")["datasources"]
    home = Path(grafana["environment"]["GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH"])

    assert mounted["./deploy/grafana/dashboards"] == provider["options"]["path"] == str(home.parent)
    assert home.name == DASHBOARD.name
    assert source["url"] == "http://prometheus:9090"


# Kubernetes.

MANIFESTS = [
    (path.name, manifest)
    for path in sorted(KUBERNETES.glob("*.yaml"))
    if path.name != "kustomization.yaml"
    for manifest in yaml.safe_load_all(path.read_text())
]
IDS = [f"{manifest['kind']} {manifest['metadata']['name']}" for _, manifest in MANIFESTS]


def manifest(kind: str, name: str) -> Json:
    (found,) = (m for _, m in MANIFESTS if (m["kind"], m["metadata"]["name"]) == (kind, name))
    return found


def pods() -> list[Json]:
    """Return the specs of all pods."""
    return [node["template"]["spec"] for _, m in MANIFESTS for node in nodes(m) if "spec" in node.get("template", {})]


def containers() -> list[Json]:
    return [container for pod in pods() for container in pod.get("initContainers", []) + pod["containers"]]


# The oldest release with all features used here, and the newest that the validator knows.
@pytest.mark.parametrize("release", ["1.31", kubernetes_validate.latest_version()])
@pytest.mark.parametrize("manifest", [m for _, m in MANIFESTS], ids=IDS)
def test_a_manifest_fits_the_schema_of_kubernetes(manifest: Json, release: str):
    kubernetes_validate.validate(manifest, release, strict=True)


def test_every_manifest_is_applied():
    assert set(read(KUBERNETES / "kustomization.yaml")["resources"]) == {name for name, _ in MANIFESTS}


@needs_kubectl
def test_kustomize_builds_all_manifests_and_sets_every_tag():
    built = list(yaml.safe_load_all(run("kubectl", "kustomize", KUBERNETES)))
    images = {node["image"] for document in built for node in nodes(document) if isinstance(node.get("image"), str)}

    assert len(built) == len(MANIFESTS)
    assert images == {"segue-service:0.1.0", "segue-trainer:0.1.0"}


def test_every_image_gets_a_tag():
    tagged = {image["name"]: image["newTag"] for image in read(KUBERNETES / "kustomization.yaml")["images"]}

    assert {container["image"] for container in containers()} == set(tagged)
    assert "latest" not in tagged.values()


@pytest.mark.parametrize("pod", pods(), ids=lambda pod: pod["containers"][0]["name"])
def test_no_pod_runs_as_root_or_holds_a_token(pod: Json):
    context = pod["securityContext"]

    assert context["runAsNonRoot"] is True
    assert context["runAsUser"] > 0
    assert context["seccompProfile"] == {"type": "RuntimeDefault"}
    assert pod["automountServiceAccountToken"] is False
    assert manifest("ServiceAccount", pod["serviceAccountName"])["automountServiceAccountToken"] is False
    # The links of a Service named segue would set SEGUE_PORT to tcp://...
    assert pod["enableServiceLinks"] is False
    assert not {"hostNetwork", "hostPID", "hostIPC"} & set(pod)
    assert not any("hostPath" in volume for volume in pod["volumes"])


@pytest.mark.parametrize("container", containers(), ids=lambda container: container["name"])
def test_no_container_of_a_pod_can_write_to_its_root_or_gain_rights(container: Json):
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    assert {"cpu", "memory"} <= set(container["resources"]["requests"])
    assert "memory" in container["resources"]["limits"]


def test_only_the_retrain_may_write_models():
    writers = {
        container["name"]
        for container in containers()
        for mount in container["volumeMounts"]
        if mount["name"] == "models" and not mount.get("readOnly")
    }

    assert writers == {"train", "prune"}


def test_every_reference_between_manifests_resolves():
    labels = manifest("Deployment", "segue")["spec"]["template"]["metadata"]["labels"]
    claims = {node["claimName"] for pod in pods() for node in nodes(pod) if "claimName" in node}

    assert claims == {m["metadata"]["name"] for _, m in MANIFESTS if m["kind"] == "PersistentVolumeClaim"}
    for pod in pods():
        volumes = {volume["name"] for volume in pod["volumes"]}
        mounts = {m["name"] for c in pod.get("initContainers", []) + pod["containers"] for m in c["volumeMounts"]}
        assert mounts == volumes
    assert manifest("Service", "segue")["spec"]["selector"].items() <= labels.items()
    assert manifest("PodDisruptionBudget", "segue")["spec"]["selector"]["matchLabels"].items() <= labels.items()
    assert manifest("NetworkPolicy", "segue")["spec"]["podSelector"]["matchLabels"].items() <= labels.items()
    assert manifest("HorizontalPodAutoscaler", "segue")["spec"]["scaleTargetRef"]["name"] == "segue"
    assert "replicas" not in manifest("Deployment", "segue")["spec"]
    manifest("ConfigMap", "segue-blocklist")


def test_probes_and_services_use_the_port_and_paths_of_the_container():
    (container,) = manifest("Deployment", "segue")["spec"]["template"]["spec"]["containers"]
    paths = set(create_app(Settings()).openapi()["paths"])
    settings = {variable["name"]: variable["value"] for variable in container["env"]}
    (port,) = container["ports"]

    for probe in ("startupProbe", "livenessProbe", "readinessProbe"):
        assert container[probe]["httpGet"]["path"] in paths
        assert container[probe]["httpGet"]["port"] == port["name"]
    assert container["readinessProbe"]["httpGet"]["path"] == "/health/ready"
    assert str(port["containerPort"]) == settings["SEGUE_PORT"]
    assert manifest("Service", "segue")["spec"]["ports"][0]["targetPort"] == port["name"]


def test_the_settings_of_the_pod_are_valid_and_leave_time_to_stop(monkeypatch: pytest.MonkeyPatch):
    pod = manifest("Deployment", "segue")["spec"]["template"]["spec"]
    given = {variable["name"]: variable["value"] for variable in pod["containers"][0]["env"]}

    settings = settings_of(given, monkeypatch)

    assert settings.drain_s == 5
    assert pod["terminationGracePeriodSeconds"] > settings.drain_s + settings.stop_within_s + KILL_AFTER_S
    assert settings.keys is not None
    assert float(pod["containers"][0]["resources"]["requests"]["cpu"]) == settings.workers


def test_a_refused_retrain_is_not_repeated_and_two_never_overlap():
    spec = manifest("CronJob", "segue-retrain")["spec"]
    job = spec["jobTemplate"]["spec"]
    fails = [rule["onExitCodes"]["values"] for rule in job["podFailurePolicy"]["rules"] if rule["action"] == "FailJob"]

    assert NOT_PUBLISHED in fails[0]
    assert job["template"]["spec"]["restartPolicy"] == "Never"  # required by a policy on failures
    assert spec["concurrencyPolicy"] == "Forbid"


# Compose.


def services() -> dict[str, Json]:
    return read(COMPOSE)["services"]


def interpolated(text: str, **variables: str) -> str:
    """Return *text* with its variables replaced as Compose does."""
    return re.sub(r"(?<!\$)\$\{(\w+)(?::-([^}]*))?\}", lambda m: variables.get(m[1]) or m[2] or "", text)


def settings_of(given: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> Settings:
    """Return the settings of a process with *given* in its environment; each variable must exist."""
    names = {f"SEGUE_{name.upper()}" for name in Settings.model_fields}
    for name in names:
        monkeypatch.delenv(name, raising=False)
    for name, value in given.items():
        assert not name.startswith("SEGUE_") or name in names, name
        if value is not None:
            monkeypatch.setenv(name, interpolated(str(value)))
    return Settings()


def image_environment() -> dict[str, str]:
    """Return the environment that the image of the service sets."""
    text = (ROOT / "Dockerfile").read_text()
    return dict(re.findall(r"(SEGUE_\w+)=(\S+)", text.partition("FROM base AS service")[2]))


@pytest.mark.parametrize("path", [COMPOSE, WITH_KEYS], ids=lambda path: path.name)
def test_a_compose_file_fits_the_schema_of_compose(path: Path):
    run(sys.executable, "-m", "check_jsonschema", "--builtin-schema", "vendor.compose-spec", path)


@needs_compose
@pytest.mark.parametrize("files", [[COMPOSE], [COMPOSE, WITH_KEYS]], ids=["alone", "with keys"])
def test_compose_accepts_its_files(files: list[Path]):
    named = [part for path in files for part in ("--file", path)]
    profiles = [part for name in ("trainer", "retrain", "observability") for part in ("--profile", name)]

    found = json.loads(run("docker", "compose", *named, *profiles, "config", "--format", "json"))

    assert set(found["services"]) == set(services())
    keys = found["services"]["service"]["environment"].get("SEGUE_KEYS")
    assert keys == ("/run/segue/keys.json" if WITH_KEYS in files else None)


@pytest.mark.parametrize("service", services().values(), ids=services())
def test_no_container_runs_as_root_writes_to_its_root_or_lacks_limits(service: Json):
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert int(service["user"].partition(":")[0]) > 0
    assert any(place.startswith("/tmp:size=") for place in service["tmpfs"])
    assert {"mem_limit", "cpu_quota", "pids_limit", "stop_grace_period"} <= set(service)
    assert set(service["logging"]["options"]) == {"max-size", "max-file"}
    assert not {"privileged", "cap_add", "pid", "ipc", "devices"} & set(service)


@pytest.mark.parametrize("service", services().values(), ids=services())
def test_ports_are_published_on_loopback_only(service: Json):
    for port in service.get("ports", []):
        assert interpolated(port).startswith("127.0.0.1:")
    assert service.get("network_mode") in (None, "none")


def test_trainers_have_no_network_and_the_service_cannot_write_models():
    for name, service in services().items():
        trains = service.get("build", {}).get("target") == "trainer"
        assert (service.get("network_mode") == "none") == trains, name
    assert services()["service"]["volumes"] == ["models:/models:ro"]


def test_every_server_has_a_health_check():
    dockerfile = (ROOT / "Dockerfile").read_text()
    checked = {name for name, service in services().items() if "healthcheck" in service}

    assert checked == {"prometheus", "grafana"}
    assert "http://127.0.0.1:$SEGUE_PORT/health/ready" in dockerfile.partition("HEALTHCHECK")[2]  # the service
    assert "/health/ready" in create_app(Settings()).openapi()["paths"]


def test_the_images_do_not_run_as_root():
    stages = re.split(r"^FROM ", (ROOT / "Dockerfile").read_text(), flags=re.MULTILINE)
    users = {stage.split()[2]: re.findall(r"^USER (\S+)", stage, flags=re.MULTILINE) for stage in stages[1:]}

    assert users["base"][-1] == "segue"
    assert users["service"] == []  # as the base
    assert users["trainer"][-1] == "segue"


def test_the_image_alone_needs_a_key_file(monkeypatch: pytest.MonkeyPatch):
    with pytest.raises(ValidationError, match="SEGUE_KEYS"):
        settings_of(image_environment(), monkeypatch)


def test_compose_serves_without_keys_and_leaves_time_to_stop(monkeypatch: pytest.MonkeyPatch):
    service = services()["service"]

    settings = settings_of(image_environment() | service["environment"], monkeypatch)

    assert settings.allow_anyone is True
    assert settings.workers == 2
    allowed_s = int(service["stop_grace_period"].removesuffix("s"))
    assert allowed_s > settings.drain_s + settings.stop_within_s + KILL_AFTER_S


def test_the_compose_file_with_keys_requires_them(monkeypatch: pytest.MonkeyPatch):
    given = services()["service"]["environment"] | read(WITH_KEYS)["services"]["service"]["environment"]

    settings = settings_of(image_environment() | given, monkeypatch)

    assert settings.allow_anyone is False
    assert settings.keys == Path("/run/segue/keys.json")


def test_every_variable_of_compose_is_documented_with_its_default():
    text = (ROOT / "docs" / "deployment.md").read_text()
    rows = re.findall(r"^\| `(SEGUE_\w+)` \| (?:`(.*?)` )?\| ", text, flags=re.MULTILINE)
    used = set(re.findall(r"(?<!\$)\$\{(\w+)(?::-([^}]*))?\}", COMPOSE.read_text() + WITH_KEYS.read_text()))

    assert used == set(rows)


def test_every_mentioned_setting_exists():
    compose = set(re.findall(r"\$\{(SEGUE_\w+)", COMPOSE.read_text() + WITH_KEYS.read_text()))
    known = {f"SEGUE_{name.upper()}" for name in Settings.model_fields} | compose
    files = [COMPOSE, ROOT / "Dockerfile", *(ROOT / "docs").glob("deployment.md"), ROOT / "docs" / "observability.md"]

    for path in [*files, *(path for path in DEPLOY.rglob("*") if path.suffix in (".yml", ".yaml", ".json", ".py"))]:
        assert set(re.findall(r"\bSEGUE_[A-Z_]+[A-Z]\b", path.read_text())) <= known, path.name


def test_foreign_images_are_pinned_and_no_registry_is_named():
    hosts = ("docker" + ".io", "ghcr" + ".io", "quay" + ".io", "gcr" + ".io", "registry.k8s" + ".io")

    for name, service in services().items():
        if "image" in service:
            assert re.search(r":v?\d+\.\d+\.\d+$", interpolated(service["image"])), name
    for path in [COMPOSE, ROOT / "Dockerfile", *(path for path in DEPLOY.rglob("*") if path.is_file())]:
        assert not any(host in path.read_text(errors="replace") for host in hosts), path.name
