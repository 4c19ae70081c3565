"""`python -m trainer models`: list, show, verify, roll back and prune versions."""

import argparse
import json
import sys
from contextlib import suppress
from datetime import UTC, datetime

from service.engine import Manifest, ModelError, NoModel, Store, StoreBusy
from service.streams import check_output
from trainer.arguments import Commands, add_models, add_without_locks, between


def add_models_commands(commands: Commands) -> None:
    """Add the commands below `models` to *commands*."""
    for name, help_, run in (
        ("list", "all versions in the order of publication, with quality, size and age", _list),
        ("show", "the manifest of a version", _show),
        ("verify", "compare every file of a version with its checksum", _verify),
        ("rollback", "make an older version the current one", _rollback),
        ("prune", "remove old versions; the current one stays", _prune),
    ):
        command = commands.add_parser(name, help=help_)
        add_models(command)
        if name in ("rollback", "prune"):
            add_without_locks(command)
        if name in ("show", "verify", "rollback"):
            default = "the one before" if name == "rollback" else "the current one"
            command.add_argument("version", nargs="?", metavar="VERSION", help=f"default: {default}")
        if name == "prune":
            keep = between(int, 1, 10**6)
            command.add_argument("--keep", type=keep, required=True, metavar="N", help="number of versions to keep")
        command.set_defaults(run=run)


def _list(options: argparse.Namespace) -> None:
    store = Store(options.models)
    current = _current(store)
    print(
        f"  {'version (oldest first)':<28}{'playlists':>12}{'catalogue':>12}{'NDCG':>8}{'R-prec':>8}{'MiB':>8}  created"
    )
    for version in store.versions():
        print(f"{'*' if version == current else ' '} {version:<28}{_details(store, version)}")
    check_output()


def _current(store: Store) -> str | None:
    """Return the name of the current version; None if versions are there but none is current."""
    try:
        return store.current().name
    except NoModel as reason:
        if not store.versions():
            raise
        print(f"no version is current: {reason}, or choose one with: models rollback VERSION", file=sys.stderr)
        return None


def _details(store: Store, version: str) -> str:
    try:
        manifest = Manifest.read(store.version(version))
    except ModelError as error:
        return f"  {error}"
    means = (f"{manifest.metrics[name]:.4f}" if manifest.metrics else "-" for name in ("ndcg", "r_precision"))
    mib = sum(file["bytes"] for file in manifest.files.values()) >> 20
    counts = f"{manifest.data['playlists']:>12,}{manifest.shape.tracks or manifest.shape.artists:>12,}"
    return f"{counts}{''.join(f'{mean:>8}' for mean in means)}{mib:>8,}  {_age(manifest.created_at)}"


def _age(created_at: str) -> str:
    seconds = int((datetime.now(UTC) - datetime.fromisoformat(created_at)).total_seconds())
    if seconds < 0:
        return f"{created_at[:16]}, ahead of the clock"
    for unit, length in (("days", 86_400), ("hours", 3600), ("minutes", 60)):
        if seconds >= 2 * length:
            return f"{seconds // length} {unit} ago"
    return f"{seconds} seconds ago"


def _show(options: argparse.Namespace) -> None:
    print(json.dumps(Manifest.read(Store(options.models).version(options.version)).content(), indent=2))
    check_output()


def _verify(options: argparse.Namespace) -> None:
    directory = Store(options.models).version(options.version)
    Manifest.read(directory).verify(directory)
    print(f"{directory.name} is undamaged")


def _rollback(options: argparse.Namespace) -> None:
    store = Store(options.models, not options.without_locks)
    directory = store.target(options.version)
    Manifest.read(directory).verify(directory)
    print(store.rollback(directory.name).name)


def _prune(options: argparse.Namespace) -> None:
    store = Store(options.models, not options.without_locks)
    pruned = store.prune(options.keep)
    with suppress(StoreBusy), store.writing():
        pass  # removes what a killed run left; a run in progress does this itself
    print("\n".join(pruned) or "nothing to remove")
