"""The arrows between the rooms run one way, read from the source."""

import ast
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]

# What each room may import beside the standard library; a room in it stands for all within.
ENGINE = {"numpy", "scipy", "annoy"}
MAY_IMPORT = {
    "service/engine/errors.py": set(),
    "service/engine/features.py": {"numpy"},
    "service/engine/foldin.py": {"numpy", "scipy", "service.engine.errors"},
    "service/engine/retrieval.py": {"numpy", "annoy"},
    "service/engine/catalogue.py": {"service.engine.errors", "service.engine.features"},
    "service/engine": ENGINE | {"service.engine"},
    "service/settings.py": {"pydantic", "pydantic_settings"},
    "service/schemas.py": {"pydantic"},
    "service/model.py": {"service.engine"},
    "service/routes.py": {"fastapi", "orjson", "pydantic", "service.engine", "service.model", "service.schemas"},
    "service/app.py": {"fastapi", "starlette", "service.engine", "service.model", "service.routes", "service.schemas",
                       "service.settings"},
    "service/__main__.py": {"uvicorn", "pydantic", "service.app", "service.settings"},
    "service/__init__.py": set(),
    "trainer/metrics.py": set(),
    "trainer/errors.py": set(),
    "trainer/config.py": {"trainer.errors"},
    "trainer/factorize.py": {"implicit", "numpy", "scipy", "threadpoolctl", "trainer.config", "trainer.errors"},
    "trainer/progress.py": {"tqdm"},
    "trainer/sources": {"msgspec", "numpy", "trainer.errors", "trainer.progress", "trainer.sources"},
    "trainer": ENGINE - {"annoy"} | {"msgspec", "service.engine", "trainer"},
}  # fmt: skip


def imports(path: Path) -> set[str]:
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: imports are written out"
            found.add(str(node.module))
    return {name for name in found if name.split(".")[0] not in sys.stdlib_module_names}


def modules() -> list[str]:
    return sorted(
        str(path.relative_to(ROOT)) for room in ("service", "trainer") for path in (ROOT / room).rglob("*.py")
    )


def room_of(module: str) -> str:
    """The nearest entry of the table: the module itself, or a folder above it."""
    place = Path(module)
    return next(str(room) for room in (place, *place.parents) if str(room) in MAY_IMPORT)


@pytest.mark.parametrize("module", modules())
def test_a_module_imports_only_what_its_room_may(module: str):
    allowed = MAY_IMPORT[room_of(module)]

    strangers = {
        name for name in imports(ROOT / module) if not any(name == a or name.startswith(f"{a}.") for a in allowed)
    }
    assert not strangers, f"{module} imports {sorted(strangers)}"


def test_implicit_is_imported_by_one_file():
    assert [m for m in modules() if any(name.startswith("implicit") for name in imports(ROOT / m))] == [
        "trainer/factorize.py"
    ]


def test_every_entry_of_the_table_is_there():
    assert all((ROOT / room).exists() for room in MAY_IMPORT)


def test_the_public_names_of_the_engine_are_those_it_lists():
    import service.engine as engine

    assert sorted(engine.__all__, key=str.lower) == sorted(set(engine.__all__), key=str.lower)
    assert all(hasattr(engine, name) for name in engine.__all__)
