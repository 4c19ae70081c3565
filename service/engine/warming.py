"""Questions that are asked of a version before it is served, so that its files are in memory."""

from typing import TYPE_CHECKING, Any

from service.engine.items import KINDS, Item, Items, Kind
from service.engine.question import Options
from service.engine.seeds import Playlist

if TYPE_CHECKING:
    from service.engine.recommender import Recommender

# About this many items of each kind are asked, spread from the most popular to the least, and for this many answers;
# and a title alone.
SEEDS, K, TITLE = 8, 500, "music"


def warm(recommender: "Recommender") -> None:
    """Ask some questions of each kind."""
    asked = {kind: _spread(recommender, kind) for kind in KINDS}
    known: list[dict[str, Any]] = [{kind: [item.id], "title": item.name} for kind in KINDS for item in asked[kind]]
    for kind in KINDS:
        for playlist in [Playlist(), Playlist(title=TITLE), *(Playlist(**each) for each in known)]:
            recommender.recommend([playlist], Options(K, kind))
        for item in asked[kind]:
            recommender.similar(kind, [item.id], K)
            recommender.search(kind, item.name, K)
    if asked["tracks"]:
        recommender.diagnose(Playlist(asked["tracks"].ids))


def _spread(recommender: "Recommender", kind: Kind) -> Items[Item]:
    """Return a few items of *kind*, from the most popular to the least."""
    popular = recommender.artifacts.candidates[kind].popular
    return recommender.items(kind, popular[:: max(len(popular) // SEEDS, 1)][:SEEDS].tolist())
