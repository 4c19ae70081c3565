"""The page of the report, rendered from the templates beside this module."""

import base64
import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup
from plotly.offline import get_plotlyjs

from trainer.evaluation.answers import FIRST_STAGE
from trainer.report import charts, formats
from trainer.report.charts import OURS, PUBLISHED
from trainer.report.formats import finite, measure_name, measure_value

ALL = "all"
TEMPLATES = Path(__file__).parent / "templates"
# The browser may run the scripts with these hashes and load nothing, whatever the data contain.
POLICY = "default-src 'none'; script-src {}; style-src 'unsafe-inline'; img-src data:"
WIDEST = 88  # per cent of a line for the longest bar, which leaves room for its number


@dataclass(frozen=True)
class Report:
    """
    The facts on a training run; the page leaves out parts that are empty.

    Attributes:
        version: the trained version.
        created_at: its time, in ISO 8601.
        kind: whether it recommends tracks or artists.
        profile: the name of the profile of its numbers.
        verdict: one sentence on whether the version was published, and the reason.
        passed: whether the gate passed it.
        numbers: the configuration, by name.
        inputs: how the inputs were understood: a path, a summary, and facts by label.
        passed_over: a sentence on each kind of file that was not read.
        counts: the sizes of the data, by name.
        popularity: points of the long tail: a rank, and the number of playlists of the item with that rank.
        lengths: classes of playlist length, in order: a label, and the number of playlists.
        title_words: the most frequent words of titles, and the number of titles with each.
        losses: the training loss after each iteration.
        quality: the value of each measure, by recommender and by category or 'all'.
        comparison: with the published version: its name 'against', the number of 'playlists', the 'overlap' of the
            first k answers as a share, by k, and the relative 'changes' (change, low, high), by measure.
        ranker: the `Judgement` on the ranker, and the 'version' that it was taught for.
        neighbours: the kind and the name of a seed, and the names and cosines of its nearest neighbours.
        recall: points of effort, recall and ms a search, by index.
        efforts: the search effort in use, by index.
        steps: in order: a name, seconds, and the peak memory so far in MiB.
        warm_start: the version 'from' which the fit started, its 'iterations' and 'seconds', and those of a cold start
            as 'cold_iterations' and 'cold_seconds', an estimate.
    """

    version: str
    created_at: str
    kind: Literal["tracks", "artists"]
    profile: str
    verdict: str
    passed: bool
    numbers: Mapping[str, float | str] = field(default_factory=dict)
    inputs: Sequence[tuple[str, str, Mapping[str, Sequence[str]]]] = ()
    passed_over: Sequence[str] = ()
    counts: Mapping[str, int] = field(default_factory=dict)
    popularity: Sequence[tuple[int, int]] = ()
    lengths: Sequence[tuple[str, int]] = ()
    title_words: Sequence[tuple[str, int]] = ()
    losses: Sequence[float] = ()
    quality: charts.Quality = field(default_factory=dict)
    comparison: Mapping[str, Any] | None = None
    ranker: Mapping[str, Any] | None = None
    neighbours: Sequence[tuple[str, str, Sequence[tuple[str, float]]]] = ()
    recall: Mapping[str, Sequence[tuple[int, float, float]]] = field(default_factory=dict)
    efforts: Mapping[str, int] = field(default_factory=dict)
    steps: Sequence[tuple[str, float, float]] = ()
    warm_start: Mapping[str, Any] | None = None

    @property
    def holders(self) -> str:
        """The word for what has tracks or artists."""
        return "listeners" if "listeners" in self.counts else "playlists"

    @property
    def asked(self) -> float | None:
        """The number of held-out playlists that were asked for, if it is known."""
        totals = (table.get(ALL, {}) for table in self.quality.values())
        return next((row["playlists"] for row in totals if "playlists" in row), None)


def render(report: Report) -> str:
    """Render the page on *report*, whose texts may contain anything; the same report gives the same page."""
    plotly, script = get_plotlyjs(), (TEMPLATES / "script.js").read_text(encoding="utf-8")
    template = _environment().get_template("page.html")
    policy = POLICY.format(f"{_hash(plotly)} {_hash(script)}")
    return template.render(report=report, policy=policy, plotly=Markup(plotly), script=Markup(script))


def _environment() -> Environment:
    environment = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=StrictUndefined,
    )
    environment.policies["json.dumps_kwargs"] = {"allow_nan": False}
    names = ("text", "measure_name", "count", "cosine", "decimal", "percent", "plain", "duration", "mib", "moment")
    environment.filters |= {name: getattr(formats, name) for name in names}
    environment.globals |= {"charts": charts, "bars": _bars, "key_figures": _key_figures, "overall": _overall}
    return environment


def _key_figures(report: Report) -> list[tuple[str, str, str]]:
    """Return the figures at the top of the page: a label, a value and a note."""
    ours = report.quality.get(OURS, {}).get(ALL, {})
    measures = [measure for measure in ("ndcg_at_10", "ndcg", "precision_at_10", "r_precision") if measure in ours][:2]
    counted = [name for name in ("playlists", "listeners", report.kind) if name in report.counts]
    found = [
        (measure_name(measure), measure_value(ours[measure], measure), _over_baselines(measure, report))
        for measure in measures
    ]
    found += [(name.capitalize(), formats.count(report.counts[name]), "in the data") for name in counted]
    for effort, share, ms in report.recall.get(report.kind, ()):
        if effort == report.efforts.get(report.kind):
            found.append(("Index recall", formats.percent(share), f"in {formats.milliseconds(ms)}"))
    if report.steps:
        total, peak = sum(seconds for _, seconds, _ in report.steps), max(mib for _, _, mib in report.steps)
        found.append(("Whole run", formats.duration(total), f"peak {formats.mib(peak)}"))
    return found


def _over_baselines(measure: str, report: Report) -> str:
    """Compare our value of *measure* with that of the best baseline; '' if there is none."""
    values = {name: finite(table.get(ALL, {}).get(measure), 0) for name, table in report.quality.items()}
    baselines = [name for name in values if name not in (OURS, FIRST_STAGE, PUBLISHED)]
    best = max(baselines, key=lambda name: values[name], default=OURS)
    if best == OURS or not values[best]:
        return ""
    return f"{formats.change(values[OURS] / values[best] - 1)} against {formats.text(best, 20)}"


def _overall(quality: charts.Quality) -> dict[str, list[tuple[str, bool]]]:
    """Return a row for each recommender: the mean of each measure, and whether it is the best."""
    tables = {name: quality[name].get(ALL, {}) for name in charts.colours(quality)}
    measures = charts.measures(quality)
    best = {measure: _best(measure, [table.get(measure) for table in tables.values()]) for measure in measures}
    return {
        name: [
            (measure_value(row.get(measure), measure), measure in row and row[measure] == best[measure])
            for measure in measures
        ]
        for name, row in tables.items()
    }


def _best(measure: str, values: Iterable[float | None]) -> float | None:
    known = [value for value in map(finite, values) if value is not None]
    return (min if measure == "clicks" else max)(known, default=None)


def _bars(rows: Iterable[Sequence[Any]], column: int, most: float) -> list[tuple[str, float, str]]:
    """Return a bar for each row: its name, its value in *column*, and the width in per cent for the share of *most*."""
    named = [(row[0], row[column]) for row in rows]
    most = most or max((finite(value, 0) for _, value in named), default=0) or 1
    return [(name, value, f"{WIDEST * min(max(finite(value, 0) / most, 0), 1):.1f}") for name, value in named]


def _hash(script: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()}'"
