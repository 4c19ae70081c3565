"""The arrows between the rooms run one way, read from the source."""

import ast
import sys
from pathlib import Path

import pytest

from service import engine

ROOT = Path(__file__).parents[1]

# What each module may import beside the standard library; the names of `service.engine` are those of its `__init__`.
MAY_IMPORT: dict[str, set[str]] = {
    "service/__init__.py": set(),
    "service/__main__.py": {"pydantic", "pydantic_settings", *(f"service.{name}" for name in (
        "access", "keys", "logs", "settings", "supervisor", "tracing"))},
    "service/access.py": set(),
    "service/app.py": {"fastapi", "pydantic", "starlette", "service.engine", *(f"service.{name}" for name in (
        "guard", "parts", "problems", "routes", "schemas", "settings"))},
    "service/audit.py": {"service.engine", "service.metrics", "service.model"},
    "service/blocklist.py": set(),
    "service/board.py": set(),
    "service/call.py": {"fastapi", "service.access", "service.engine", "service.envelope"},
    "service/envelope.py": {"service.keys"},
    "service/guard.py": {"starlette", "service.engine", *(f"service.{name}" for name in (
        "access", "call", "envelope", "logs", "memory", "metrics", "problems", "queue", "rates", "settings", "tracing",
        "watch"))},
    "service/keys.py": {"service.access"},
    "service/logs.py": {"orjson", "structlog", "service.settings"},
    "service/memory.py": set(),
    "service/metrics.py": {"prometheus_client", "service.board"},
    "service/model.py": {f"service.{name}" for name in ("board", "engine", "memory", "metrics")},
    "service/otlp.py": {"opentelemetry"},
    "service/parts.py": {"fastapi", *(f"service.{name}" for name in (
        "audit", "board", "model", "rates", "schemas", "settings", "tracing", "watch"))},
    "service/problems.py": {"orjson", "starlette"},
    "service/protocol.py": {"uvicorn", *(f"service.{name}" for name in ("envelope", "logs", "metrics", "problems"))},
    "service/queue.py": set(),
    "service/rates.py": {"service.access"},
    "service/routes.py": {"fastapi", "orjson", "pydantic", "service.engine", *(f"service.{name}" for name in (
        "call", "metrics", "parts", "problems", "schemas"))},
    "service/schemas.py": {"pydantic", "service.engine", "service.settings"},
    "service/settings.py": {"pydantic", "pydantic_settings"},
    "service/supervisor.py": {"uvicorn", *(f"service.{name}" for name in (
        "board", "logs", "metrics", "protocol", "settings"))},
    "service/tracing.py": {"service.otlp", "service.settings"},
    "service/watch.py": {f"service.{name}" for name in (
        "access", "blocklist", "board", "metrics", "model", "settings", "watched")},
    "service/watched.py": set(),
    "service/engine/__init__.py": {f"service.engine.{name}" for name in (
        "artifacts", "catalogue", "errors", "features", "foldin", "recommender", "steps", "store")},
    "service/engine/errors.py": set(),
    "service/engine/features.py": {"numpy"},
    "service/engine/foldin.py": {"numpy", "scipy", "service.engine.errors"},
    "service/engine/blocklist.py": {"numpy", "service.engine.artifacts"},
    "service/engine/retrieval.py": {"numpy", "annoy", "service.engine.errors", "service.engine.steps"},
    "service/engine/steps.py": set(),
    "service/engine/catalogue.py": {"service.engine.errors", "service.engine.features"},
    "service/engine/artifacts.py": {"numpy", *(f"service.engine.{name}" for name in (
        "catalogue", "errors", "features", "files", "foldin", "retrieval"))},
    "service/engine/files.py": {"numpy"},
    "service/engine/store.py": {f"service.engine.{name}" for name in ("artifacts", "errors", "files")},
    "service/engine/recommender.py": {"numpy", *(f"service.engine.{name}" for name in (
        "artifacts", "blocklist", "catalogue", "errors", "features", "foldin", "retrieval", "steps"))},
    "trainer/__init__.py": set(),
    "trainer/__main__.py": {"service.engine", *(f"trainer.{name}" for name in (
        "config", "errors", "pipeline", "sources.listeners", "sources.synthetic", "threads", "tune", "versions"))},
    "trainer/versions.py": {"service.engine"},
    "trainer/errors.py": set(),
    "trainer/metrics.py": set(),
    "trainer/steps.py": set(),
    "trainer/threads.py": set(),
    "trainer/config.py": {"service.engine", "trainer.errors"},
    "trainer/progress.py": {"tqdm"},
    "trainer/report.py": {"plotly"},
    "trainer/sources/__init__.py": {"trainer.errors", "trainer.progress", "trainer.sources"},
    "trainer/sources/records.py": {"numpy"},
    "trainer/sources/blocks.py": {"polars", "trainer.errors"},
    "trainer/sources/roles.py": {"trainer.errors"},
    "trainer/sources/mpd.py": {"msgspec", "trainer.errors", "trainer.sources.blocks", "trainer.sources.records"},
    "trainer/sources/delimited.py": {"numpy", "polars", "trainer.errors", "trainer.sources.blocks",
                                     "trainer.sources.roles"},
    "trainer/sources/jsonlines.py": {"msgspec", "polars", "trainer.errors", "trainer.sources.blocks",
                                     "trainer.sources.roles"},
    "trainer/sources/parquet.py": {"polars", "trainer.errors", "trainer.sources.blocks", "trainer.sources.roles"},
    "trainer/sources/batches.py": {"numpy", "polars", "trainer.errors", *(f"trainer.sources.{name}" for name in (
        "blocks", "records", "roles"))},
    "trainer/sources/table.py": {"trainer.errors", *(f"trainer.sources.{name}" for name in (
        "batches", "blocks", "delimited", "jsonlines", "mpd", "parquet", "records"))},
    "trainer/sources/lastfm.py": {"polars", "trainer.errors", *(f"trainer.sources.{name}" for name in (
        "batches", "blocks", "delimited", "mpd", "records"))},
    "trainer/sources/synthetic.py": {"msgspec", "numpy", "trainer.errors", "trainer.progress"},
    "trainer/sources/listeners.py": {"numpy", "trainer.errors", "trainer.progress", "trainer.sources.synthetic"},
    "trainer/dataset.py": {"numpy", "scipy", "service.engine", "trainer.sources"},
    "trainer/intake.py": {"msgspec", "numpy", "service.engine", "trainer.dataset", "trainer.errors",
                          "trainer.sources"},
    "trainer/factorize.py": {"implicit", "numpy", "scipy", "threadpoolctl", "trainer.config", "trainer.errors",
                             "trainer.threads"},
    "trainer/fitting.py": {"numpy", "service.engine", *(f"trainer.{name}" for name in (
        "config", "dataset", "factorize", "progress", "steps", "threads"))},
    "trainer/challenge.py": {"numpy", "service.engine", "trainer.dataset", "trainer.errors", "trainer.sources"},
    "trainer/listening.py": {"numpy", "trainer.challenge", "trainer.dataset", "trainer.sources"},
    "trainer/baselines.py": {"numpy", "scipy", "service.engine", "trainer.challenge", "trainer.dataset",
                             "trainer.factorize"},
    "trainer/evaluate.py": {"numpy", "service.engine", "trainer.baselines", "trainer.challenge", "trainer.metrics",
                            "trainer.progress"},
    "trainer/gate.py": {"numpy", "trainer.challenge", "trainer.evaluate"},
    "trainer/examination.py": {"numpy", "service.engine", *(f"trainer.{name}" for name in (
        "baselines", "challenge", "dataset", "evaluate", "fitting", "gate", "progress", "protocol", "steps"))},
    "trainer/account.py": {"numpy", "service.engine", *(f"trainer.{name}" for name in (
        "dataset", "evaluate", "gate", "report", "steps"))},
    "trainer/tune.py": {"numpy", "optuna", "service.engine", "sqlalchemy", *(f"trainer.{name}" for name in (
        "challenge", "config", "dataset", "errors", "evaluate", "fitting", "progress", "protocol", "steps"))},
    "trainer/protocol.py": {"numpy", *(f"trainer.{name}" for name in ("challenge", "dataset", "errors", "listening"))},
    "trainer/pipeline.py": {"numpy", "service.engine", *(f"trainer.{name}" for name in (
        "account", "challenge", "config", "dataset", "errors", "evaluate", "examination", "fitting", "gate", "intake",
        "progress", "protocol", "report", "sources", "steps", "tune"))},
}  # fmt: skip


def imports(path: Path) -> set[str]:
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: imports are written out"
            module = str(node.module)
            inner = {f"{module}.{alias.name}" for alias in node.names if (ROOT / module / f"{alias.name}.py").exists()}
            found |= inner or {module}
    return {name for name in found if name.split(".")[0] not in sys.stdlib_module_names}


def modules() -> list[str]:
    return sorted(
        str(path.relative_to(ROOT)) for room in ("service", "trainer") for path in (ROOT / room).rglob("*.py")
    )


@pytest.mark.parametrize("module", modules())
def test_a_module_imports_only_what_it_may(module: str):
    allowed = MAY_IMPORT[module]

    strangers = {
        name for name in imports(ROOT / module) if not any(name == a or name.startswith(f"{a}.") for a in allowed)
    }
    assert not strangers, f"{module} imports {sorted(strangers)}"


def test_implicit_is_imported_by_one_file():
    assert [m for m in modules() if any(name.startswith("implicit") for name in imports(ROOT / m))] == [
        "trainer/factorize.py"
    ]


def test_every_entry_of_the_table_is_there():
    assert sorted(MAY_IMPORT) == modules()


def test_the_public_names_of_the_engine_are_those_that_it_gathers():
    tree = ast.parse((ROOT / "service/engine/__init__.py").read_text())
    gathered = {alias.name for node in tree.body if isinstance(node, ast.ImportFrom) for alias in node.names}

    assert set(engine.__all__) == gathered
    assert len(engine.__all__) == len(gathered)
