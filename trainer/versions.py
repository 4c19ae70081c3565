"""The versions of a store side by side, for a person to read."""

from datetime import UTC, datetime
from pathlib import Path

from service.engine import Manifest, ModelError, Store


def list_versions(models: Path) -> str:
    """
    A table of the versions of the store *models*, the oldest first.

    Raises:
        NoModel: it holds none.
    """
    store = Store(models)
    current = store.current().name
    lines = [f"  {'version':<28}{'playlists':>12}{'catalogue':>12}{'NDCG':>8}{'R-prec':>8}{'MiB':>8}  made"]
    for version in store.versions():
        try:
            manifest = Manifest.read(store.version(version))
        except ModelError as error:
            lines.append(f"{'*' if version == current else ' '} {version:<28}  {error}")
            continue
        ndcg, precision = (
            f"{manifest.metrics[name]:.4f}" if manifest.metrics else "-" for name in ("ndcg", "r_precision")
        )
        mib = sum(file["bytes"] for file in manifest.files.values()) >> 20
        items = manifest.shape.tracks or manifest.shape.artists
        counts = f"{manifest.data['playlists']:>12,}{items:>12,}{ndcg:>8}{precision:>8}{mib:>8,}"
        lines.append(f"{'*' if version == current else ' '} {version:<28}{counts}  {_age(manifest.created_at)} ago")
    return "\n".join(lines)


def _age(created_at: str) -> str:
    seconds = int((datetime.now(UTC) - datetime.fromisoformat(created_at)).total_seconds())
    for unit, length in (("days", 86_400), ("hours", 3600), ("minutes", 60)):
        if seconds >= 2 * length:
            return f"{seconds // length} {unit}"
    return f"{max(seconds, 0)} seconds"
