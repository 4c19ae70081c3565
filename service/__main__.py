"""`python -m service`: serve by the settings of the environment; `python -m service keys`: who may ask."""

import argparse
import os
import re
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pydantic import ValidationError
from pydantic_settings import SettingsError

from service.keys import add_keys_commands, run
from service.settings import Settings

USAGE = 2
# Each request is counted in files that are mapped; where they are on a disk, to write there may wait for it.
IN_MEMORY = Path("/dev/shm")


def main(arguments: list[str] | None = None) -> int:
    """Serve until stopped, or do what *arguments* say; returns the exit code."""
    options = parser().parse_args(arguments)
    if options.command == "keys":
        return run(options)
    try:
        settings = Settings()
    except SettingsError as error:  # of a list that is no JSON it names the field alone
        return _fail(_name_variables(str(error)))
    except ValidationError as error:
        return _fail(*map(_describe, error.errors()))
    return _serve(settings)


def parser() -> argparse.ArgumentParser:
    """The command line."""
    found = argparse.ArgumentParser(
        prog="python -m service",
        description="Serve the current version of a store over HTTP. Settings come from the environment: SEGUE_...",
    )
    commands = found.add_subparsers(dest="command", metavar="COMMAND")
    add_keys_commands(commands.add_parser("keys", help="make, list and revoke API keys"))
    return found


def _serve(settings: Settings) -> int:
    # The numeric libraries read this when they are loaded, which the workers do: one request is too small to be worth
    # several threads, and the workers share the machine.
    for library in ("OPENBLAS", "OMP", "MKL"):
        os.environ.setdefault(f"{library}_NUM_THREADS", str(settings.threads))

    from service.access import BadKeys, Keys
    from service.logs import configure_logs
    from service.tracing import open_tracer

    configure_logs(settings)
    try:
        # What would keep every worker from beginning is said once, here.
        if settings.keys is not None:
            Keys.read(settings.keys)
        open_tracer(settings).stop()
        with _runtime(settings) as runtime:
            # What the workers, which find it in their environment, count for Prometheus goes there; that has to be
            # known as soon as it is imported.
            metrics = runtime / "metrics"
            metrics.mkdir(parents=True)
            os.environ |= {"SEGUE_RUNTIME": str(runtime), "PROMETHEUS_MULTIPROC_DIR": str(metrics)}

            from service.supervisor import serve

            return serve(settings.model_copy(update={"runtime": runtime}))
    except (BadKeys, ModuleNotFoundError) as error:
        return _fail(str(error))
    except OSError as error:
        return _fail(f"{error.filename}: {error.strerror}" if error.filename else str(error.strerror))


def _fail(*reasons: str) -> int:
    for reason in reasons:
        print(f"error: {reason}", file=sys.stderr)
    return USAGE


def _describe(fault: Any) -> str:
    text = fault["msg"].removeprefix("Value error, ")
    if not fault["loc"]:
        return str(text)
    return f"SEGUE_{'_'.join(str(part) for part in fault['loc']).upper()} is {fault['input']!r}: {text}"


def _name_variables(text: str) -> str:
    return re.sub(r'field "(\w+)"', lambda found: f"SEGUE_{found[1].upper()}, which is to be JSON,", text)


@contextmanager
def _runtime(settings: Settings) -> Iterator[Path]:
    """A directory for what the workers share, empty to begin with and gone at the end."""
    parent = settings.runtime or (IN_MEMORY if os.access(IN_MEMORY, os.W_OK) else None)
    with tempfile.TemporaryDirectory(prefix="segue-", dir=parent, ignore_cleanup_errors=True) as runtime:
        yield Path(runtime)


if __name__ == "__main__":
    sys.exit(main())
