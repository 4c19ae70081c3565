"""One page on one training run, for a person: a single file of HTML that is viewed without a network."""

import base64
import hashlib
import html
import json
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal

from plotly.offline import get_plotlyjs

OURS, PUBLISHED, ALL = "segue", "published", "all"

# After Okabe and Ito, for every kind of colour vision, in tones that stand out from white and from black.
COLOURS = {
    OURS: "#1f83d6",
    PUBLISHED: "#858c97",
    "popularity": "#c98a00",
    "plain ALS": "#009e73",
    "playlist kNN": "#cc79a7",
    "item cosine": "#d55e00",
}
MORE_COLOURS = ("#8a63d2", "#8c6d46", "#3aa6b9")

# Shapes tell apart what matters most without colours, and ours stands inside of the published one's ring.
MARKS: dict[str, dict[str, Any]] = {
    OURS: {"size": 11, "symbol": "diamond", "opacity": 1},
    PUBLISHED: {"size": 15, "symbol": "circle-open", "line": {"width": 2}},
}

# What a measure is called, in a chart and in a table, and what it says.
MEASURES = {
    "ndcg": ("NDCG", "NDCG", "How near the top the hidden ones stand. 1 is perfect."),
    "r_precision": ("R-precision", "R-prec.", "Of as many first answers as were hidden, the share that was hidden."),
    "r_precision_artist": ("R-precision with artists", "+ artist", "As R-precision, with a quarter for the artist."),
    "clicks": ("Clicks", "Clicks", "Pages of ten leafed past before the first hit. Lower is better."),
    "precision_at_10": ("Precision at 10", "Prec. 10", "Of the first ten answers, the share that was hidden."),
    "ndcg_at_10": ("NDCG at 10", "NDCG 10", "As NDCG, of the first ten answers alone."),
    "coverage": ("Coverage", "Cover", "The share of the catalogue that any answer holds."),
}

WIDEST = 88  # per cent of a line that a bar may take, which leaves room for its figure

# What has no business in a label: controls, halves of characters, and what turns the direction of the text around it.
UNWANTED = re.compile(r"[\x00-\x1f\x7f-\x9f\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]+")


FONT = "system-ui, -apple-system, 'Segoe UI', Roboto, 'Helvetica Neue', sans-serif"

LAYOUT: dict[str, Any] = {
    "margin": {"l": 8, "r": 16, "t": 8, "b": 8},
    "paper_bgcolor": "rgba(0,0,0,0)",
    "plot_bgcolor": "rgba(0,0,0,0)",
    "font": {"family": FONT, "size": 12},
    "hoverlabel": {"bgcolor": "#22272f", "bordercolor": "#5b6470", "font": {"color": "#ffffff"}, "align": "left"},
    "showlegend": False,
    "hovermode": "x",
    "dragmode": False,  # a finger on a chart scrolls the page
}

AXIS: dict[str, Any] = {
    "fixedrange": True,
    "automargin": True,
    "zeroline": False,
    "ticks": "outside",
    "ticklen": 6,
    "tickcolor": "rgba(0,0,0,0)",  # a distance between the labels and the dots
}

SCRIPT = """
const config = {responsive: true, displayModeBar: false, displaylogo: false, scrollZoom: false, doubleClick: false};
for (const figure of document.querySelectorAll("script[type='application/json']")) {
  Plotly.newPlot(figure.previousElementSibling, {...JSON.parse(figure.textContent), config});
}
"""

# Charts take their inks from here too, over what plotly writes into them, so that they follow the colour scheme.
STYLE = """
:root { --ink: #1b1f24; --soft: #5d6672; --line: #e3e6ea; --page: #f6f7f9; --card: #fff; --bar: #1f83d624;
  --good: #00785a; --bad: #b84300; }
@media (prefers-color-scheme: dark) { :root { --ink: #e8eaed; --soft: #9aa3ae; --line: #2d333b; --page: #111418;
  --card: #191d23; --bar: #1f83d64d; --good: #2cc295; --bad: #ff8a4c; } }
* { box-sizing: border-box; }
html { -webkit-text-size-adjust: 100%; }
body { margin: 0 auto; max-width: 1180px; padding: 32px 16px 64px; background: var(--page); color: var(--ink);
  font: 15px/1.5 FONT; overflow-wrap: anywhere; font-variant-numeric: tabular-nums; }
h1 { margin: 0; font-size: 26px; line-height: 1.2; letter-spacing: -.01em; }
h2 { margin: 48px 0 4px; font-size: 20px; letter-spacing: -.01em; }
.kicker { margin: 0 0 4px; font-size: 13px; color: var(--soft); }
.lead { margin: 4px 0 0; color: var(--soft); }
.verdict { display: flex; gap: 12px; margin: 20px 0; padding: 14px 18px; border: 1px solid; border-radius: 10px;
  font-weight: 550; color: var(--tone); background: color-mix(in srgb, var(--tone) 9%, transparent); }
.passed { --tone: var(--good); } .refused { --tone: var(--bad); }
.figures { display: grid; grid-template-columns: repeat(auto-fit, minmax(150px, 1fr)); gap: 12px; margin: 0; }
.figures > div, figure { padding: 14px 16px; border: 1px solid var(--line); border-radius: 10px;
  background: var(--card); }
.figures dd { font-size: 22px; font-weight: 600; line-height: 1.4; white-space: nowrap; }
dt, dd.note, small { font-size: 13px; font-weight: 400; color: var(--soft); white-space: normal; }
dd { margin: 0; }
nav { display: flex; flex-wrap: wrap; gap: 4px 18px; margin-top: 20px; font-size: 14px; }
a { color: inherit; text-decoration-color: var(--soft); text-underline-offset: 3px; }
.grid, .cards { display: grid; gap: 16px; margin-top: 16px; grid-template-columns: minmax(0, 1fr); }
.cards { grid-template-columns: repeat(auto-fill, minmax(min(100%, 340px), 1fr)); }
@media (min-width: 800px) { .grid { grid-template-columns: repeat(2, minmax(0, 1fr)); }
  .grid > :last-child:nth-child(odd) { grid-column: 1 / -1; } }
figure { margin: 0; min-width: 0; }
figcaption { margin-bottom: 8px; font-weight: 600; }
small { display: block; }
.legend { display: flex; flex-wrap: wrap; gap: 4px 18px; margin: 12px 0 0; padding: 0; list-style: none; }
.legend li { display: flex; gap: 7px; align-items: center; font-size: 14px; }
.legend li::before { content: ""; flex: none; width: 10px; height: 10px; background: currentColor; }
.legend .segue::before { transform: rotate(45deg) scale(.9); } .legend .other::before { border-radius: 50%; }
.legend .published::before { width: 13px; height: 13px; border: 2px solid; border-radius: 50%; background: none; }
.legend span { color: var(--ink); } .legend .segue span { font-weight: 600; }
.scroll { overflow-x: auto; }
table { width: 100%; border-collapse: collapse; font-size: 14px; }
th, td { padding: 5px 0 5px 10px; text-align: right; font-weight: 400; white-space: nowrap; }
tbody * { border-top: 1px solid var(--line); }
thead th { color: var(--soft); white-space: normal; overflow-wrap: normal; vertical-align: bottom; }
th[scope=row] { padding-left: 0; text-align: left; white-space: normal; min-width: 72px; }
.best { font-weight: 700; }
@media (max-width: 480px) { table { font-size: 12px; } th, td { padding-left: 6px; } }
.bars { margin: 0; padding: 0; list-style: none; font-size: 14px; }
.bars li { display: flex; justify-content: space-between; gap: 12px; margin-bottom: 3px; padding: 2px 8px;
  border-radius: 4px; break-inside: avoid;
  background: linear-gradient(to right, var(--bar) var(--share), transparent 0); }
.bars span { white-space: nowrap; color: var(--soft); }
.columns { columns: 5 140px; column-gap: 16px; }
.pairs { display: grid; gap: 12px 24px; margin: 16px 0 0;
  grid-template-columns: repeat(auto-fill, minmax(150px, 1fr)); }
.pairs div { display: flex; flex-direction: column-reverse; justify-content: flex-end; }
.pairs dd { font-weight: 600; }
.plot text:not(.hoverlayer *) { fill: var(--soft) !important; }
.plot .gridlayer path { stroke: var(--line) !important; }
.plot .zerolinelayer path { stroke: var(--soft) !important; }
""".replace("FONT", FONT)


@dataclass(frozen=True)
class Report:
    """
    What there is to tell of a training run; a part that is empty is left out of the page.

    Attributes:
        version: the version trained.
        created_at: when, as ISO 8601.
        kind: whether playlists of tracks were learned from, or listening to artists.
        profile: the name of the profile of the configuration.
        verdict: one sentence on whether the version was published, and why.
        passed: whether it was.
        numbers: the configuration, by name.
        counts: how many there are of what the data hold, by the words for it.
        popularity: some points of the long tail, a rank and how many playlists hold what has that rank.
        lengths: the lengths of playlists in classes, in order: a label, and how many playlists.
        title_words: the most frequent words of titles, and how many titles hold each.
        losses: the training loss after each iteration.
        quality: by recommender, by category (or 'all'), the value of each measure.
        comparison: with the published version: 'against' which, on how many 'playlists', the 'overlap' of the first k
            answers as a share, by k, and the 'changes' as (change, low, high) relative to its value, by measure.
        neighbours: the kind of a seed, its name, and the names and cosines of those nearest to it.
        recall: by index, points of effort, share of the nearest found, and ms of a search.
        efforts: by index, the effort that is searched with.
        steps: in order, a name, seconds, and the peak of memory in MiB.
        warm_start: 'from' which version the fit began, its 'iterations' and 'seconds', and for a fit from nothing
            'cold_iterations' and, as an estimate, 'cold_seconds'.
    """

    version: str
    created_at: str
    kind: Literal["tracks", "artists"]
    profile: str
    verdict: str
    passed: bool
    numbers: Mapping[str, float | str] = field(default_factory=dict)
    counts: Mapping[str, int] = field(default_factory=dict)
    popularity: Sequence[tuple[int, int]] = ()
    lengths: Sequence[tuple[str, int]] = ()
    title_words: Sequence[tuple[str, int]] = ()
    losses: Sequence[float] = ()
    quality: Mapping[str, Mapping[str, Mapping[str, float]]] = field(default_factory=dict)
    comparison: Mapping[str, Any] | None = None
    neighbours: Sequence[tuple[str, str, Sequence[tuple[str, float]]]] = ()
    recall: Mapping[str, Sequence[tuple[int, float, float]]] = field(default_factory=dict)
    efforts: Mapping[str, int] = field(default_factory=dict)
    steps: Sequence[tuple[str, float, float]] = ()
    warm_start: Mapping[str, Any] | None = None


def render(report: Report) -> str:
    """The page on *report*, whose texts may hold anything; the same report gives the same page."""
    sections = {
        "Quality": _quality(report),
        "Against the published version": _comparison(report),
        "What it learned": _neighbours(report),
        "The data": _data(report),
        "The fit": _fit(report),
        "The index": _index(report),
        "The run": _run(report),
        "Numbers": _pairs([(name, _plain(value)) for name, value in report.numbers.items()]),
    }
    there = [(title, title.lower().replace(" ", "-"), body) for title, body in sections.items() if body]
    links = "".join(f'<a href="#{id_}">{title}</a>' for title, id_, _ in there)
    main = "".join(f'<section id="{id_}"><h2>{title}</h2>{body}</section>\n' for title, id_, body in there)
    plotly = get_plotlyjs()
    # The browser is told to run these two scripts alone and to load nothing, whatever the data would have it do.
    policy = f"default-src 'none'; script-src {_hash(plotly)} {_hash(SCRIPT)}; style-src 'unsafe-inline'; img-src data:"
    return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="{policy}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<link rel="icon" href="data:,">
<title>{_text(report.version)} - Segue</title>
<style>{STYLE}</style>
</head>
<body>
{_header(report)}
<nav>{links}</nav>
<main>
{main}</main>
<script>{plotly}</script>
<script>{SCRIPT}</script>
</body>
</html>
"""


def _header(report: Report) -> str:
    figures = "".join(
        f"<div><dt>{label}</dt><dd>{value}</dd><dd class=note>{note}</dd></div>"
        for label, value, note in _key_figures(report)
    )
    outcome, sign = ("passed", "✓") if report.passed else ("refused", "✕")
    return f"""<header>
<p class="kicker">Segue training report</p>
<h1>{_text(report.version)}</h1>
<p class="lead">{_moment(report.created_at)}, {_text(report.kind)}, profile {_text(report.profile)}</p>
<p class="verdict {outcome}"><b aria-label="{outcome}">{sign}</b><span>{_text(report.verdict, 400)}</span></p>
<dl class="figures">{figures}</dl>
</header>"""


def _holders(report: Report) -> str:
    """What tracks or artists are held by."""
    return "listeners" if "listeners" in report.counts else "playlists"


def _key_figures(report: Report) -> list[tuple[str, str, str]]:
    """The few things to see first: a label, a value and a note."""
    ours = report.quality.get(OURS, {}).get(ALL, {})
    measures = [measure for measure in ("ndcg_at_10", "ndcg", "precision_at_10", "r_precision") if measure in ours][:2]
    counted = [what for what in ("playlists", "listeners", report.kind) if what in report.counts]
    found = [(_name(measure), _value(measure, ours[measure]), _over_baselines(measure, report)) for measure in measures]
    found += [(_text(what).capitalize(), _count(report.counts[what]), "in the data") for what in counted]
    for effort, share, ms in report.recall.get(report.kind, ()):
        if effort == report.efforts.get(report.kind):
            found.append(("Index recall", _percent(share), f"in {ms:.2g} ms"))
    if report.steps:
        peak = max(mib for _, _, mib in report.steps)
        found.append(("Whole run", _duration(sum(seconds for _, seconds, _ in report.steps)), f"peak {_mib(peak)}"))
    return found


def _over_baselines(measure: str, report: Report) -> str:
    values = {name: _finite(table.get(ALL, {}).get(measure)) or 0 for name, table in report.quality.items()}
    baselines = [name for name in values if name not in (OURS, PUBLISHED)]
    best = max(baselines, key=lambda name: values[name], default=OURS)
    return (
        f"{_change(values[OURS] / values[best] - 1)} against {_text(best, 20)}" if best != OURS and values[best] else ""
    )


def _quality(report: Report) -> str:
    if not report.quality:
        return '<p class="lead">No playlists were held out, so nothing was measured.</p>'
    tables = report.quality.values()
    found = _distinct(row for table in tables for row in table.values())
    measures = [*(name for name in MEASURES if name in found), *(name for name in found if name not in MEASURES)]
    measures = [measure for measure in measures if measure != "playlists"]
    drawn = [measure for measure in measures if measure != "coverage"]
    categories = _distinct(tables)
    if len(categories) > 2:
        charts = [
            _dots(f"quality-{number}", measure, [(_label(row, 20), row, measure) for row in categories], report)
            for number, measure in enumerate(drawn)
        ]
    else:  # charts of a row or two would be all axes; so one has all measures of its scale, which clicks are not
        rows = [(_name(measure), categories[0], measure) for measure in drawn if measure != "clicks"]
        charts = [_dots("quality-0", "By measure", rows, report)]
    legend = "".join(
        f'<li class="{name if name in (OURS, PUBLISHED) else "other"}" style="color:{colour}">'
        f"<span>{_text(name, 40)}</span></li>"
        for name, colour in _colours(report.quality).items()
    )
    asked = next((table[ALL]["playlists"] for table in tables if "playlists" in table.get(ALL, {})), None)
    return (
        '<p class="lead">How well each recommender finds what was hidden of '
        f"{'the' if asked is None else _count(asked)} held-out {_holders(report)}, by what was shown of them.</p>"
        f'<ul class="legend">{legend}</ul>{_grid(*charts, _overall(measures, report))}'
    )


def _dots(name: str, title: str, rows: Sequence[tuple[str, str, str]], report: Report) -> str:
    """A chart with a row for each of *rows* (label, category, measure), and in it a dot for each recommender."""
    traces = []
    for recommender, colour in _colours(report.quality).items():
        values = [_finite(report.quality[recommender].get(row, {}).get(measure)) for _, row, measure in rows]
        cells = [_value(measure, value) for (_, _, measure), value in zip(rows, values, strict=True)]
        told = [f"{cell}  {_label(recommender, 30)}" for cell in cells]
        mark = {"color": colour, "size": 9, "opacity": 0.85} | MARKS.get(recommender, {})
        layer = int(recommender == OURS)  # on top
        marks = {"mode": "markers", "marker": mark, "zorder": layer, "hoverinfo": "text+y"}
        traces.append(_trace(values, range(len(rows)), told, **marks))
    most = max((value for trace in traces for value in trace["x"] if value is not None), default=0) or 1
    layout = {
        "hovermode": "y unified",
        "xaxis": {"range": [-0.03 * most, 1.05 * most]},
        "yaxis": _rows([label for label, _, _ in rows]) | {"showspikes": False},
    }
    meaning = MEASURES[title][2] if title in MEASURES else ""
    return _chart(name, _name(title), meaning, traces, layout, 40 + 28 * len(rows))


def _overall(measures: Sequence[str], report: Report) -> str:
    """A table of the means over all held-out playlists, the best of each column in bold."""
    tables = {name: report.quality[name].get(ALL, {}) for name in _colours(report.quality)}
    best = {}
    for measure in measures:
        values = [value for table in tables.values() if (value := _finite(table.get(measure))) is not None]
        best[measure] = (min if measure == "clicks" else max)(values, default=None)
    lines = "".join(
        f'<tr><th scope="row">{_text(name, 24)}</th>'
        + "".join(
            f"<td{' class=best' if row.get(measure) == best[measure] else ''}>{_value(measure, row.get(measure))}</td>"
            for measure in measures
        )
        + "</tr>"
        for name, row in tables.items()
    )
    head = "".join(f'<th scope="col">{_name(measure, 1)}</th>' for measure in measures)
    lower = " Of clicks, the lowest is." if "clicks" in measures else ""
    return _figure(
        "Over all",
        f"The best of each column in bold.{lower}",
        f'<div class="scroll"><table><thead><tr><td></td>{head}</tr></thead><tbody>{lines}</tbody></table></div>',
    )


def _comparison(report: Report) -> str:
    if report.comparison is None:
        return ""
    changes = report.comparison.get("changes", {})
    told = [
        f"{_name(measure)} {_change(change)}<br>95 % interval {_change(low)} to {_change(high)}"
        for measure, (change, low, high) in changes.items()
    ]
    values = [100 * _finite(change, 0) for change, _, _ in changes.values()]
    lows = [100 * _finite(low, _finite(change, 0)) for change, low, _ in changes.values()]
    highs = [100 * _finite(high, _finite(change, 0)) for change, _, high in changes.values()]
    interval = {
        "array": [high - value for high, value in zip(highs, values, strict=True)],
        "arrayminus": [value - low for low, value in zip(lows, values, strict=True)],
    }
    bars = {"symmetric": False, "color": COLOURS[OURS], "thickness": 3, "width": 8} | interval
    mark = {"color": COLOURS[OURS]} | MARKS[OURS]
    trace = _trace(values, range(len(values)), told, mode="markers", marker=mark, error_x=bars)
    most = 1.15 * max(map(abs, (*values, *lows, *highs)), default=0) or 1
    layout = {
        "hovermode": "y",
        "xaxis": {"range": [-most, most], "zeroline": True, "zerolinewidth": 2, "ticksuffix": " %", "nticks": 5},
        "yaxis": _rows([_name(measure) for measure in changes]),
    }
    note = "With 95 % intervals; one that reaches over zero is too close to call."
    note += " Fewer clicks are better." if "clicks" in changes else ""
    shares = [(f"first {k}", share, _percent(share)) for k, share in report.comparison.get("overlap", {}).items()]
    against, playlists = _text(report.comparison.get("against", "")), _count(report.comparison.get("playlists", 0))
    return f'<p class="lead">{against}, on the same {playlists} playlists.</p>' + _grid(
        _chart("changes", "Change", note, [trace], layout, 50 + 34 * len(values)),
        _figure("Answers in common", "The share of the first answers that both versions give.", _bars(shares, 1)),
    )


def _neighbours(report: Report) -> str:
    cards = ""
    for kind, seed, found in report.neighbours:
        bars = _bars([(name, cosine, _decimal(cosine, 2)) for name, cosine in found], 1)
        cards += _figure(f"<bdi>{_text(seed)}</bdi>", _text(kind), bars)
    lead = '<p class="lead">What stands nearest to a few seeds, by the cosine of their vectors.</p>'
    return f'{lead}<div class="cards">{cards}</div>' if cards else ""


def _data(report: Report) -> str:
    points = [(rank, held) for rank, held in report.popularity if rank > 0 and held > 0]  # what a logarithm takes
    told = [f"rank {_count(rank)}<br>{_holders(report)}: {_count(held)}" for rank, held in points]
    ranks, held_by = [rank for rank, _ in points], [held for _, held in points]
    layout = {"xaxis": _log(ranks, "rank"), "yaxis": _log(held_by, _holders(report))}
    kind = _text(report.kind)
    tail = f"How many {_holders(report)} have each of the {kind}, the most popular first."
    lengths = _bars([(label, count, _count(count)) for label, count in report.lengths])
    words = _bars([(word, count, _count(count)) for word, count in report.title_words], style="columns")
    return _pairs([(what, _count(count)) for what, count in report.counts.items()]) + _grid(
        _chart("popularity", "The long tail", tail, [_trace(ranks, held_by, told)], layout),
        _figure("Lengths", f"{_holders(report).capitalize()} by how many {kind} they have.", lengths),
        _figure("Words of titles", "How many titles hold the most frequent ones.", words),
    )


def _fit(report: Report) -> str:
    losses = [_finite(loss) for loss in report.losses]
    told = [f"iteration {number}<br>loss {_plain(loss)}" for number, loss in enumerate(report.losses, 1)]
    layout = {
        "xaxis": {"title": {"text": "iteration"}, "tick0": 1, "dtick": max(1, -(-len(losses) // 10))},
        "yaxis": {"title": {"text": "loss"}, "tickformat": ","},
    }
    *_, before, last = (None, None, *losses)
    note = f"The last iteration changed it by {_change(last / before - 1)}." if before and last is not None else ""
    chart = _chart("loss", "Training loss", note, [_trace(range(1, len(losses) + 1), losses, told)], layout, 240)
    if not report.warm_start:
        return _grid(chart)
    start = report.warm_start
    fits = {"Warm": ("iterations", "seconds"), "Cold (an estimate)": ("cold_iterations", "cold_seconds")}
    bars = _bars(
        (f"{name}: {start[iterations]} iterations", start[seconds], _duration(start[seconds]))
        for name, (iterations, seconds) in fits.items()
    )
    return _grid(chart, _figure("Warm start", f"It began with the vectors of {_text(start['from'])}.", bars))


def _index(report: Report) -> str:
    charts = []
    for number, (index, found) in enumerate(report.recall.items()):
        points = [point for point in found if all(map(math.isfinite, point)) and point[2] > 0]
        times, shares = [ms for _, _, ms in points], [100 * share for _, share, _ in points]
        told = [f"effort {_count(effort)}<br>recall {_percent(share)}<br>{ms:.3g} ms" for effort, share, ms in points]
        lowest = min([*shares, 95])
        pad = 0.05 * (100 - lowest)
        layout = {
            "xaxis": _log(times, "ms a search"),
            "yaxis": {"range": [lowest - pad, 100 + pad], "ticksuffix": " %", "title": {"text": "recall"}},
        }
        traces, note = [_trace(times, shares, told)], ""
        for effort, share, ms in points:
            if effort == report.efforts.get(index):
                note = f"The diamond is what is used: effort {_count(effort)}, {_percent(share)} in {ms:.2g} ms."
                mark = {"color": COLOURS[OURS]} | MARKS[OURS] | {"size": 15}
                traces.append(_trace([ms], [100 * share], [""], mode="markers", marker=mark, hoverinfo="skip"))
        charts.append(_chart(f"recall-{number}", f"Nearest {_text(index, 20)}", note, traces, layout))
    lead = '<p class="lead">The share of the true nearest that a search finds, against the time it takes.</p>'
    return lead + _grid(*charts) if any(charts) else ""


def _run(report: Report) -> str:
    total, peak = sum(seconds for _, seconds, _ in report.steps), max((mib for _, _, mib in report.steps), default=0)
    times = _bars([(name, seconds, _duration(seconds)) for name, seconds, _ in report.steps])
    peaks = _bars([(name, mib, _mib(mib)) for name, _, mib in report.steps])
    return _grid(
        _figure("Time", f"{_duration(total)} in all.", times), _figure("Peak memory", f"{_mib(peak)} at most.", peaks)
    )


# Parts of a page. Titles and notes are HTML already; names are not.


def _grid(*parts: str) -> str:
    return f'<div class="grid">{"".join(parts)}</div>' if any(parts) else ""


def _figure(title: str, note: str, body: str) -> str:
    return f"<figure><figcaption>{title}<small>{note}</small></figcaption>{body}</figure>" if body else ""


def _bars(rows: Iterable[tuple[str, float, str]], most: float = 0, style: str = "") -> str:
    """A line for each (name, value, value as text), with a bar behind it for its share of *most*, or of the highest."""
    drawn = [(name, _finite(value, 0), told) for name, value, told in rows]
    most = most or max((value for _, value, _ in drawn), default=0) or 1
    lines = "".join(
        f'<li style="--share:{WIDEST * min(max(value / most, 0), 1):.1f}%"><bdi>{_text(name, 60)}</bdi>'
        f"<span>{told}</span></li>"
        for name, value, told in drawn
    )
    return f'<ol class="bars {style}">{lines}</ol>' if lines else ""


def _pairs(rows: Iterable[tuple[str, str]]) -> str:
    lines = "".join(f"<div><dt>{_text(name)}</dt><dd>{value}</dd></div>" for name, value in rows)
    return f'<dl class="pairs">{lines}</dl>' if lines else ""


def _chart(
    name: str, title: str, note: str, traces: Sequence[dict[str, Any]], layout: dict[str, Any], height: int = 280
) -> str:
    if not any(len(trace["x"]) for trace in traces):
        return ""
    axes = {axis: AXIS | layout.get(axis, {}) for axis in ("xaxis", "yaxis")}
    figure = {"data": traces, "layout": LAYOUT | layout | axes | {"height": height}}
    # No text of it can end the script that holds it.
    text = json.dumps(figure, allow_nan=False).replace("&", "\\u0026").replace("<", "\\u003c").replace(">", "\\u003e")
    plot = f'<div class="plot" id="chart-{name}" style="height:{height}px"></div>'
    return _figure(title, note, f'{plot}<script type="application/json">{text}</script>')


def _trace(x: Iterable[float | None], y: Iterable[float | None], told: Sequence[str], **more: Any) -> dict[str, Any]:
    """A line, unless *more* says otherwise, that tells what was *told* of each point."""
    line = {"type": "scatter", "mode": "lines+markers", "line": {"color": COLOURS[OURS], "width": 2}}
    points = {"x": list(x), "y": list(y), "hoverinfo": "text", "hovertext": told, "cliponaxis": False}
    return line | points | more


def _rows(labels: Sequence[str]) -> dict[str, Any]:
    """An axis of rows from the top, which are numbered, as plotly would read numbers and dates into their labels."""
    return {"tickvals": list(range(len(labels))), "ticktext": labels, "range": [len(labels) - 0.4, -0.6]}


def _log(values: Sequence[float], title: str) -> dict[str, Any]:
    """A logarithmic axis over *values*, with labels on round ones, few enough for a phone."""
    low, high = math.log10(min(values, default=1)), math.log10(max(values, default=1))
    pad = max(0.04 * (high - low), 0.15)
    steps = (1,) if high - low > 2 else (1, 2, 5) if high - low > 0.6 else range(1, 10)
    ticks = [step * 10.0**power for power in range(math.floor(low) - 1, math.ceil(high) + 1) for step in steps]
    return {
        "type": "log",
        "range": [low - pad, high + pad],
        "tickvals": ticks,
        "ticktext": [f"{tick:,.6g}" for tick in ticks],
        "title": {"text": title},
    }


def _hash(script: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()}'"


# Texts and numbers for people.


def _clean(value: object, most: int) -> str:
    text = " ".join(UNWANTED.sub(" ", str(value)).split()) or "(no name)"
    return text if len(text) <= most else f"{text[: most - 1].rstrip()}…"


def _text(value: object, most: int = 80) -> str:
    """Any text, for HTML."""
    return html.escape(_clean(value, most))


def _label(value: object, most: int) -> str:
    """Any text, for a chart, where plotly takes tags and the entities of these three."""
    return html.escape(_clean(value, most), quote=False)


def _colours(recommenders: Iterable[str]) -> dict[str, str]:
    """The colour of each of *recommenders*, ours first, then the published one, then the others as they come."""
    names = sorted(recommenders, key=lambda name: (name != OURS, name != PUBLISHED))
    others = [name for name in names if name not in COLOURS]
    return {name: COLOURS.get(name) or MORE_COLOURS[others.index(name) % len(MORE_COLOURS)] for name in names}


def _distinct(rows: Iterable[Iterable[str]]) -> list[str]:
    return list(dict.fromkeys(name for row in rows for name in row))


def _name(measure: str, short: int = 0) -> str:
    return MEASURES[measure][short] if measure in MEASURES else _label(measure.replace("_", " "), 24)


def _finite(value: Any, otherwise: Any = None) -> Any:
    """*value* where it is a number that JSON and a chart can hold."""
    return value if isinstance(value, int | float) and math.isfinite(value) else otherwise


def _number(value: float | None, form: str) -> str:
    return "-" if value is None or not math.isfinite(value) else format(value, form).replace("-", "\N{MINUS SIGN}")


def _count(value: float) -> str:
    return _number(value, ",.0f")


def _decimal(value: float | None, places: int = 4) -> str:
    """As .2412, for no measure goes far beyond 1."""
    return re.sub(r"^(\W?)0\.", r"\1.", _number(value, f".{places}f"))


def _value(measure: str, value: float | None) -> str:
    if measure == "coverage" and value is not None:
        return _percent(value)
    return _number(value, ".2f") if measure == "clicks" else _decimal(value)


def _percent(share: float) -> str:
    return f"{_number(100 * share, '.1f')}\N{NO-BREAK SPACE}%"


def _change(share: float) -> str:
    return f"{_number(100 * share, '+.1f')}\N{NO-BREAK SPACE}%"


def _plain(value: float | str) -> str:
    return _number(value, ",.10g") if isinstance(value, int | float) else _text(value)


def _duration(seconds: float) -> str:
    if not seconds >= 59.5 or math.isinf(seconds):
        return f"{_number(seconds, '.2g' if seconds < 9.95 else '.0f')} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes // 60} h {minutes % 60} min" if minutes >= 60 else f"{minutes} min {rest} s"


def _mib(mib: float) -> str:
    return f"{_count(mib)} MiB"


def _moment(iso: str) -> str:
    try:
        return f"{datetime.fromisoformat(iso):%-d %B %Y, %H:%M %Z}".strip()
    except ValueError:
        return _text(iso)
