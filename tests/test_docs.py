"""The documentation names every endpoint, setting, command, option, file and target, and only files that exist."""

import argparse
import ast
import json
import pkgutil
import re
import shlex
from dataclasses import fields
from pathlib import Path

import pytest
from fastapi.testclient import TestClient
from prometheus_client.parser import text_string_to_metric_families

from service.api.catalogue import SearchQuery
from service.api.errors import STATUSES
from service.api.playlists import RecommendRequest, SimilarQuery
from service.app import create_app
from service.engine import Manifest, Store
from service.settings import Settings
from trainer.cli import parser
from trainer.config import FULL, LISTENING, SMALL, TrainingConfig

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()
PAGES = [ROOT / "README.md", *sorted(ROOT.glob("docs/**/*.md")), ROOT / "benchmarks" / "README.md"]
MODULES = sorted(path for package in ("service", "trainer") for path in ROOT.glob(f"{package}/**/*.py"))
FOLDERS = ("service", "trainer", "tests", "docs", "benchmarks", "deploy", ".ci")
FILES = [path for folder in FOLDERS for path in ROOT.glob(f"{folder}/**/*") if path.is_file()]
# Docstrings name a thing or begin with a verb; a free relative clause makes the reader translate.
NO_FIRST_WORD = ("What", "Who", "How", "Whether", "Which")
LINK = re.compile(r"\]\(([^)#]+)[^)]*\)")


def doc(name: str) -> str:
    return (ROOT / "docs" / name).read_text()


def sections(text: str) -> dict[str, str]:
    """The text below each heading of the second level."""
    parts = re.split(r"^## (.*)$", text, flags=re.MULTILINE)
    return dict(zip(parts[1::2], parts[2::2], strict=True))


def commands() -> dict[str, argparse.ArgumentParser]:
    (action,) = (a for a in parser()._actions if isinstance(a, argparse._SubParsersAction))
    return dict(action.choices)


def actions(command: argparse.ArgumentParser) -> list[argparse.Action]:
    """The actions of *command* and of the commands below it."""
    found = []
    for action in command._actions:
        found.append(action)
        if isinstance(action, argparse._SubParsersAction):
            found += [inner for below in action.choices.values() for inner in actions(below)]
    return found


def test_every_endpoint_has_a_section():
    paths = create_app(Settings()).openapi()["paths"]
    endpoints = {f"`{method.upper()} {path}`" for path, methods in paths.items() for method in methods}

    assert endpoints == {heading for heading in sections(doc("api.md")) if heading.startswith("`")}


@pytest.mark.parametrize(
    ("section", "model"),
    [("`POST /recommend`", RecommendRequest), ("`GET /similar`", SimilarQuery), ("`GET /search`", SearchQuery)],
)
def test_every_field_of_a_request_is_in_the_table_of_its_endpoint(section: str, model: type):
    text = sections(doc("api.md"))[section]
    documented = re.findall(r"^\| `(\w+)` \|", text, flags=re.MULTILINE)

    assert documented == list(model.model_fields)


def test_every_status_of_an_error_is_documented():
    documented = set(re.findall(r"^\| (\d+) \|", sections(doc("api.md"))["Errors"], flags=re.MULTILINE))

    assert {str(int(status)) for status in STATUSES.values()} <= documented


def test_every_setting_is_in_the_table_with_its_default_and_meaning():
    rows = re.findall(r"^\| `(SEGUE_\w+)` \| `(.*?)` \| (.*) \|$", doc("settings.md"), flags=re.MULTILINE)

    assert rows == [
        (f"SEGUE_{name.upper()}", str(field.default), field.description)
        for name, field in Settings.model_fields.items()
    ]


def test_every_command_has_a_section_with_each_of_its_options():
    found = sections(doc("cli.md"))
    numbers = {f"--{number.name.replace('_', '-')}" for number in fields(TrainingConfig)} | {"--profile", "--config"}

    assert {f"`{name}`" for name in commands()} == set(found)
    for name, command in commands().items():
        for action in actions(command):
            for option in action.option_strings:
                if option in ("-h", "--help") or (name in ("evaluate", "tune") and option in numbers):
                    continue
                assert f"`{option}" in found[f"`{name}`"], f"{name} {option}"


def test_the_profiles_are_as_documented():
    rows = re.findall(r"^\| `--([\w-]+)` \| (\S+) \| (\S+) \| (\S+) \| (.*) \|$", doc("cli.md"), flags=re.MULTILINE)
    documented = {name.replace("-", "_"): values for name, *values, _ in rows}

    assert documented == {
        number.name: [_plain(getattr(profile, number.name)) for profile in (FULL, SMALL, LISTENING)]
        for number in fields(TrainingConfig)
    }


def _plain(value: float | str) -> str:
    return value if isinstance(value, str) else f"{value:.10g}"


def test_every_file_of_a_version_is_documented(models: Path):
    text = doc("artifacts.md")

    for name in (*Manifest.read(Store(models).current()).files, "manifest.json"):
        assert f"`{name}`" in text
    for field in fields(Manifest):
        assert f"`{field.name}`" in text


def test_every_target_of_the_makefile_says_what_it_does():
    targets = re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), flags=re.MULTILINE)
    described = re.findall(r"^([a-z-]+):.*## ", (ROOT / "Makefile").read_text(), flags=re.MULTILINE)

    assert targets == described
    assert {"install", "demo", "test", "lint", "bench", "test-compose", "clean"} <= set(targets)


def test_links_between_documents_lead_somewhere():
    for path in PAGES:
        for link in LINK.findall(path.read_text()):
            if "://" not in link:
                assert (path.parent / link).exists(), f"{path.name}: {link}"


def test_every_page_is_linked_from_the_readme():
    linked = {(ROOT / link).resolve() for link in LINK.findall(README) if "://" not in link}

    assert {page for page in PAGES if page.parent in (ROOT / "docs", ROOT / "benchmarks")} <= linked


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_files_that_a_page_names_exist(page: Path):
    text = page.read_text()
    folders = "|".join(map(re.escape, FOLDERS))
    paths = re.findall(rf"`((?:{folders})/[\w./-]*)`", text)
    scripts = re.findall(r"(?<![\w./-])[\w./-]+\.py\b", text)

    assert [path for path in paths if not (ROOT / path).exists()] == []
    assert [name for name in scripts if not any(f"/{file}".endswith(f"/{name}") for file in FILES)] == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_modules_that_a_page_names_exist(page: Path):
    names = re.findall(r"`((?:service|trainer)(?:\.\w+)+)`", page.read_text())

    for name in names:
        if not any(file.name == name for file in FILES):  # such as the manifest service.yaml
            pkgutil.resolve_name(name)  # raises ImportError or AttributeError


@pytest.mark.parametrize("module", MODULES, ids=lambda module: module.relative_to(ROOT).as_posix())
def test_docstrings_name_a_thing_or_an_action(module: Path):
    documented = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    nodes = [node for node in ast.walk(ast.parse(module.read_text())) if isinstance(node, documented)]
    docstrings = [docstring for node in nodes if (docstring := ast.get_docstring(node))]

    assert [text for text in docstrings if re.match(rf"({'|'.join(NO_FIRST_WORD)})\b", text)] == []


def test_no_file_names_a_package_registry():
    hosts = ("pypi" + ".org", "pythonhosted" + ".org", "npmjs" + ".org", "deb.debian" + ".org")

    for path in [*ROOT.glob("*"), *(ROOT / ".ci").glob("*"), *(ROOT / "docs").glob("*")]:
        if path.is_file():
            assert not any(host in path.read_text(errors="replace") for host in hosts), path.name


def test_everything_that_is_depended_on_is_pinned():
    pinned = set(re.findall(r"^([\w.-]+)==[\w.]+$", (ROOT / "constraints.txt").read_text().lower(), flags=re.MULTILINE))
    project = (ROOT / "pyproject.toml").read_text()
    wanted = re.findall(r'"([\w-]+)[<>=\d.]*"', re.search(r"dependencies = \[(.*?)\]", project, re.DOTALL)[1])
    for extra in re.findall(r"^(?:trainer|tracing|dev) = \[(.*?)\n?\]$", project, flags=re.MULTILINE | re.DOTALL):
        wanted += re.findall(r'"([\w-]+)[<>=\d.]*"', extra)

    assert len(wanted) > 15
    assert {name.replace("_", "-") for name in wanted} <= {name.replace("_", "-") for name in pinned}


def test_the_first_curl_of_the_readme_asks_for_ten_tracks_and_shows_them():
    command = re.search(r"^    (curl .*/recommend.*)$", README, flags=re.MULTILINE)
    assert command is not None
    body = json.loads(shlex.split(command[1])[-1])

    assert RecommendRequest.model_validate(body).k == 10


def test_every_metric_is_in_the_table_with_its_labels(client: TestClient):
    client.post("/recommend", json={"title": "late night jazz", "tracks": ["unknown"]})
    exposed = {
        sample.name.removesuffix("_bucket").removesuffix("_count").removesuffix("_sum"): set(sample.labels) - {"le"}
        for family in text_string_to_metric_families(client.get("/metrics").text)
        for sample in family.samples
        if not sample.name.endswith("_created")
    }
    rows = re.findall(r"^\| `(segue_\w+)` \| \w+ \| ([^|]*)\|", doc("observability.md"), flags=re.MULTILINE)
    documented = {name: set(re.findall(r"`(\w+)`", labels)) for name, labels in rows}

    # Those that are counted by kind come with the first that is counted.
    assert {name: documented[name] for name in exposed} == exposed
    assert set(documented) - set(exposed) <= {name for name in documented if name.startswith("segue_audited_")}
