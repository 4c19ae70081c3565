"""The command line: `python -m service` serves, `python -m service keys` manages API keys."""

import argparse
import os
import sys
from typing import Any

from pydantic import ValidationError

from service.auth.commands import add_keys_commands, run
from service.files import may_pass
from service.settings import Settings

USAGE = 2


def main(arguments: list[str] | None = None) -> int:
    """Serve until stopped, or run the command in *arguments*; returns the exit code."""
    options = parser().parse_args(arguments)
    if options.command == "keys":
        return run(options)
    try:
        settings = Settings()
    except ValidationError as error:
        return _fail(*map(_describe, error.errors()))
    return _serve(settings)


def parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    found = argparse.ArgumentParser(
        prog="python -m service",
        description="Serve the current version of a store over HTTP. Settings are environment variables: SEGUE_...",
    )
    commands = found.add_subparsers(dest="command", metavar="COMMAND")
    add_keys_commands(commands.add_parser("keys", help="create, list and revoke API keys"))
    return found


def _serve(settings: Settings) -> int:
    _limit_threads(settings.threads)
    # Imported here: the numeric libraries read the number of threads when they are loaded.
    from service.auth.keys import BadKeys
    from service.reload.blocklist import BadBlocklist
    from service.server.descriptors import fit_connections
    from service.server.runtime import runtime_directory
    from service.telemetry.logs import configure_logs

    configure_logs(settings)
    try:
        _check_files(settings)
        settings = fit_connections(settings)
        with runtime_directory(settings.runtime, settings.workers) as runtime:
            # These import the metrics, which need the runtime directory.
            from service.server.supervisor import serve
            from service.telemetry.tracing import open_tracer

            if tracer := open_tracer(settings):
                tracer.stop()
            return serve(settings.model_copy(update={"runtime": runtime}))
    except (BadKeys, BadBlocklist, ModuleNotFoundError) as error:
        return _fail(str(error))
    except OSError as error:
        return _fail(f"{error.filename}: {error.strerror}" if error.filename else str(error.strerror))


def _check_files(settings: Settings) -> None:
    """Refuse files that no worker could use. A trouble of the system may pass, and the workers read them again."""
    from service.auth.keys import BadKeys, Keys
    from service.reload.blocklist import check_blocklist

    if settings.blocklist is not None:
        check_blocklist(settings.blocklist)
    try:
        if settings.keys is not None:
            Keys.read(settings.keys)
    except BadKeys as error:
        if not may_pass(error):
            raise


def _limit_threads(n_threads: int) -> None:
    """Limit the numeric libraries: one request is too small for several threads, and workers share the machine."""
    for library in ("OPENBLAS", "OMP", "MKL"):
        name = f"{library}_NUM_THREADS"
        os.environ[name] = os.environ.get(name) or str(n_threads)


def _fail(*reasons: str) -> int:
    for reason in reasons:
        print(f"error: {reason}", file=sys.stderr)
    return USAGE


def _describe(fault: Any) -> str:
    text = fault["msg"].removeprefix("Value error, ")
    if not fault["loc"]:
        return str(text)
    name, *entry = fault["loc"]
    place = f"entry {entry[0] + 1} of " if entry else ""
    return f"{place}SEGUE_{name.upper()} is {fault['input']!r}: {text}"
