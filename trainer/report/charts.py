"""The charts of the report, as figures for plotly."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from trainer.evaluation.answers import FIRST_STAGE
from trainer.report.formats import (
    MEASURES,
    change,
    count,
    finite,
    label,
    measure_name,
    measure_value,
    milliseconds,
    percent,
    plain,
    text,
)

OURS, PUBLISHED = "segue", "published"
FONT = "system-ui, -apple-system, 'Segoe UI', Roboto, 'Helvetica Neue', sans-serif"

# After Okabe and Ito, for every kind of colour vision, in tones with contrast to white and to black.
COLOURS = {
    OURS: "#1f83d6",
    FIRST_STAGE: "#8a63d2",
    PUBLISHED: "#858c97",
    "popularity": "#c98a00",
    "plain ALS": "#009e73",
    "playlist kNN": "#cc79a7",
    "item cosine": "#d55e00",
}
MORE_COLOURS = ("#8c6d46", "#3aa6b9", "#7d8a2e")

# Shapes distinguish the two versions without colours; ours fits inside the ring of the published one.
MARKS: dict[str, dict[str, Any]] = {
    OURS: {"size": 11, "symbol": "diamond", "opacity": 1},
    PUBLISHED: {"size": 15, "symbol": "circle-open", "line": {"width": 2}},
}

OUR_MARK = {"color": COLOURS[OURS]} | MARKS[OURS]
INTERVAL = {"symmetric": False, "color": COLOURS[OURS], "thickness": 3, "width": 8}

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
    "tickcolor": "rgba(0,0,0,0)",  # invisible ticks keep the labels away from the dots
}

Quality = Mapping[str, Mapping[str, Mapping[str, float]]]
Trace = dict[str, Any]


@dataclass(frozen=True)
class Chart:
    """A figure for plotly, with its name on the page, title, note and height in pixels."""

    name: str
    title: str
    note: str
    traces: Sequence[Trace]
    layout: Mapping[str, Any]
    height: int = 280

    @property
    def figure(self) -> dict[str, Any]:
        axes = {axis: AXIS | self.layout.get(axis, {}) for axis in ("xaxis", "yaxis")}
        return {"data": self.traces, "layout": {**LAYOUT, **self.layout, **axes, "height": self.height}}

    def __bool__(self) -> bool:
        return any(len(trace["x"]) for trace in self.traces)


def colours(recommenders: Iterable[str]) -> dict[str, str]:
    """Return the colour of each of *recommenders*: ours first, then the published one, then the others in order."""
    names = sorted(recommenders, key=lambda name: (name != OURS, name != PUBLISHED))
    others = [name for name in names if name not in COLOURS]
    return {name: COLOURS.get(name) or MORE_COLOURS[others.index(name) % len(MORE_COLOURS)] for name in names}


def measures(quality: Quality) -> list[str]:
    """Return the measures that occur in *quality*, the known ones first."""
    found = dict.fromkeys(measure for table in quality.values() for row in table.values() for measure in row)
    known = [measure for measure in MEASURES if measure in found]
    return known + [measure for measure in found if measure not in (*MEASURES, "playlists")]


def quality_charts(quality: Quality) -> list[Chart]:
    """Return a chart of each measure by category; with one category, a single chart of all measures."""
    categories = list(dict.fromkeys(category for table in quality.values() for category in table))
    drawn = [measure for measure in measures(quality) if measure != "coverage"]
    if len(categories) > 2:
        return [
            _dots(f"quality-{number}", measure, [(label(row, 20), row, measure) for row in categories], quality)
            for number, measure in enumerate(drawn)
        ]
    # Clicks have another scale than all other measures.
    rows = [(label(measure_name(measure), 24), categories[0], measure) for measure in drawn if measure != "clicks"]
    return [_dots("quality-0", "By measure", rows, quality)]


def recall_charts(recall: Mapping[str, Iterable[tuple[int, float, float]]], efforts: Mapping[str, int]) -> list[Chart]:
    """Return a chart of each index with any point."""
    charts = (
        _recall_chart(f"recall-{number}", index, points, efforts.get(index))
        for number, (index, points) in enumerate(recall.items())
    )
    return [chart for chart in charts if chart]


def changes_chart(changes: Mapping[str, tuple[float, float, float]]) -> Chart:
    """Return a chart of the (change, low, high) of each measure, as shares."""
    names = [label(measure_name(measure), 24) for measure in changes]
    hover = [
        f"{name} {change(value)}<br>95 % interval {change(low)} to {change(high)}"
        for name, (value, low, high) in zip(names, changes.values(), strict=True)
    ]
    values = [100 * finite(value, 0) for value, _, _ in changes.values()]
    lows = [100 * finite(low, finite(value, 0)) for value, low, _ in changes.values()]
    highs = [100 * finite(high, finite(value, 0)) for value, _, high in changes.values()]
    interval = {
        "array": [high - value for high, value in zip(highs, values, strict=True)],
        "arrayminus": [value - low for low, value in zip(lows, values, strict=True)],
    }
    most = 1.15 * max(map(abs, (*values, *lows, *highs)), default=0) or 1
    layout = {
        "hovermode": "y",
        "xaxis": {"range": [-most, most], "zeroline": True, "zerolinewidth": 2, "ticksuffix": " %", "nticks": 5},
        "yaxis": _rows(names),
    }
    note = "With 95 % intervals; an interval across zero shows no clear change."
    note += " Fewer clicks are better." if "clicks" in changes else ""
    marks = {"mode": "markers", "marker": OUR_MARK, "error_x": INTERVAL | interval}
    trace = _trace(values, range(len(values)), hover, **marks)
    return Chart("changes", "Change", note, [trace], layout, 50 + 34 * len(values))


def popularity_chart(points: Sequence[tuple[int, int]], kind: str, holders: str) -> Chart:
    """Return a chart of the long tail: how many *holders* have the item of each rank."""
    drawn = [(rank, held) for rank, held in points if rank > 0 and held > 0]  # positive, for a logarithm
    ranks, held_by = [rank for rank, _ in drawn], [held for _, held in drawn]
    hover = [f"rank {count(rank)}<br>{holders}: {count(held)}" for rank, held in drawn]
    note = f"How many {holders} have each of the {kind}, the most popular first."
    layout = {"xaxis": _log(ranks, "rank"), "yaxis": _log(held_by, holders)}
    return Chart("popularity", "The long tail", note, [_trace(ranks, held_by, hover)], layout)


def loss_chart(losses: Sequence[float]) -> Chart:
    """Return a chart of the training loss by iteration."""
    drawn = [finite(loss) for loss in losses]
    hover = [f"iteration {number}<br>loss {plain(loss)}" for number, loss in enumerate(losses, 1)]
    layout = {
        "xaxis": {"title": {"text": "iteration"}, "tick0": 1, "dtick": max(1, -(-len(drawn) // 10))},
        "yaxis": {"title": {"text": "loss"}, "tickformat": ","},
    }
    *_, before, last = (None, None, *drawn)
    note = f"The last iteration changed it by {change(last / before - 1)}." if before and last is not None else ""
    return Chart("loss", "Training loss", note, [_trace(range(1, len(drawn) + 1), drawn, hover)], layout, 240)


def _recall_chart(name: str, index: str, points: Iterable[tuple[int, float, float]], effort: int | None) -> Chart:
    """Return a chart of an index: recall against time, at several efforts, with the *effort* in use marked."""
    drawn = [point for point in points if all(map(math.isfinite, point)) and point[2] > 0]
    times, shares = [ms for _, _, ms in drawn], [100 * share for _, share, _ in drawn]
    hover = [f"effort {count(effort)}<br>recall {percent(share)}<br>{ms:.3g} ms" for effort, share, ms in drawn]
    lowest = min([*shares, 95])
    pad = 0.05 * (100 - lowest)
    layout = {
        "xaxis": _log(times, "ms a search"),
        "yaxis": {"range": [lowest - pad, 100 + pad], "ticksuffix": " %", "title": {"text": "recall"}},
    }
    traces, note = [_trace(times, shares, hover)], ""
    for used, share, ms in drawn:
        if used == effort:
            note = f"The diamond is in use: effort {count(used)}, {percent(share)} in {milliseconds(ms)}."
            mark = OUR_MARK | {"size": 15}
            traces.append(_trace([ms], [100 * share], [""], mode="markers", marker=mark, hoverinfo="skip"))
    return Chart(name, f"Nearest {text(index, 20)}", note, traces, layout)


def _dots(name: str, title: str, rows: Sequence[tuple[str, str, str]], quality: Quality) -> Chart:
    """Return a chart with a row for each of *rows* (label, category, measure), and a dot for each recommender."""
    traces = [_dots_of(recommender, colour, rows, quality) for recommender, colour in colours(quality).items()]
    most = max((value for trace in traces for value in trace["x"] if value is not None), default=0) or 1
    layout = {
        "hovermode": "y unified",
        "xaxis": {"range": [-0.03 * most, 1.05 * most]},
        "yaxis": _rows([row for row, _, _ in rows]) | {"showspikes": False},
    }
    meaning = MEASURES[title][2] if title in MEASURES else ""
    return Chart(name, measure_name(title), meaning, traces, layout, 40 + 28 * len(rows))


def _dots_of(recommender: str, colour: str, rows: Sequence[tuple[str, str, str]], quality: Quality) -> Trace:
    values = [finite(quality[recommender].get(category, {}).get(measure)) for _, category, measure in rows]
    cells = [measure_value(value, measure) for (_, _, measure), value in zip(rows, values, strict=True)]
    mark = {"color": colour, "size": 9, "opacity": 0.85} | MARKS.get(recommender, {})
    on_top = int(recommender == OURS)
    hover = [f"{cell}  {label(recommender, 30)}" for cell in cells]
    return _trace(values, range(len(rows)), hover, mode="markers", marker=mark, zorder=on_top, hoverinfo="text+y")


def _trace(x: Iterable[float | None], y: Iterable[float | None], hover: Sequence[str], **more: Any) -> Trace:
    """Return a line, or what *more* says, with a *hover* text for each point."""
    line = {"type": "scatter", "mode": "lines+markers", "line": {"color": COLOURS[OURS], "width": 2}}
    points = {"x": list(x), "y": list(y), "hoverinfo": "text", "hovertext": hover, "cliponaxis": False}
    return line | points | more


def _rows(labels: Sequence[str]) -> dict[str, Any]:
    """Return an axis of numbered rows from the top, as plotly would turn labels into numbers and dates."""
    return {"tickvals": list(range(len(labels))), "ticktext": labels, "range": [len(labels) - 0.4, -0.6]}


def _log(values: Sequence[float], title: str) -> dict[str, Any]:
    """Return a logarithmic axis over *values*, with few labels and on round numbers only."""
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
