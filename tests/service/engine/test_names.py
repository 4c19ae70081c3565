"""The public names of the engine."""

import ast
from pathlib import Path

from service import engine


def test_the_public_names_are_those_that_the_package_imports():
    tree = ast.parse(Path(str(engine.__file__)).read_text())
    imported = {alias.name for node in tree.body if isinstance(node, ast.ImportFrom) for alias in node.names}

    assert set(engine.__all__) == imported
    assert len(engine.__all__) == len(imported)
