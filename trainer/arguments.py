"""Arguments that several commands share."""

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import TypeAlias

Commands: TypeAlias = "argparse._SubParsersAction[argparse.ArgumentParser]"


def add_models(command: argparse.ArgumentParser) -> None:
    """Add `--models`, the directory of the store."""
    command.add_argument("--models", type=Path, default=Path("models"), metavar="DIR", help="default: %(default)s")


def add_without_locks(command: argparse.ArgumentParser) -> None:
    """Add `--without-locks`, for a command that writes to the store."""
    command.add_argument(
        "--without-locks",
        action="store_true",
        help="accept a store on a file system without locks; run one command at a time",
    )


def between(kind: type[int] | type[float], low: float, high: float) -> Callable[[str], float]:
    """Return a converter of option values that accepts numbers from *low* to *high* only."""

    def convert(text: str) -> float:
        try:
            number = kind(text)
        except ValueError:
            number = float("nan")
        if not low <= number <= high:
            whole = "whole " if kind is int else ""
            raise argparse.ArgumentTypeError(f"{text!r} is not a {whole}number from {low:g} to {high:g}")
        return number

    return convert
