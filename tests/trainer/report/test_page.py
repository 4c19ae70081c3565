"""The page on a training run: what it shows, and that nothing in the data can act on it."""

import json
import math
import re
import tomllib
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import pytest
from plotly.graph_objects import Figure
from plotly.offline import get_plotlyjs

from trainer.report.page import TEMPLATES, Report, render

ROOT = Path(__file__).parents[3]

MEASURED = {"r_precision": 0.2, "r_precision_artist": 0.22, "ndcg": 0.2412, "clicks": 1.5, "coverage": 0.3}
WORSE = {"r_precision": 0.1, "r_precision_artist": 0.11, "ndcg": 0.2, "clicks": 9.5, "coverage": 0.1}

BARE = Report("20260102T030405Z-0a1b2c3d", "2026-01-02T03:04:05+00:00", "tracks", "small", "published", passed=True)
FULL = replace(
    BARE,
    numbers={"factors": 64, "alpha": 20.0, "solver": "cg"},
    inputs=[("data", "Exportify, 3 files, 12 rows", {"passed over": ["2: no track id (a.csv row 7)"], "": ["a note"]})],
    passed_over=["passed over data/a.xlsx: it is a spreadsheet. Save it as CSV."],
    counts={"playlists": 1_000_000, "tracks": 2_262_292, "playlists without tracks passed over": 3},
    popularity=[(1, 46_574), (10, 9_000), (1000, 0)],
    lengths=[("5-9", 12), ("10-19", 34)],
    title_words=[("chill", 300), ("2017", 200)],
    losses=[0.5, 0.3, 0.25],
    quality={
        "published": {name: {**MEASURED, "playlists": 98} for name in ("all", "title", "5")},
        "popularity": {name: {**WORSE, "playlists": 98} for name in ("all", "title", "5")},
        "segue": {name: {**MEASURED, "playlists": 98} for name in ("all", "title", "5")},
    },
    comparison={
        "against": "20260101T030405Z-99999999",
        "playlists": 98,
        "overlap": {10: 0.71, 500: 0.61},
        "changes": {"ndcg": (0.001, -0.008, 0.01), "r_precision": (-0.002, -0.013, 0.009)},
    },
    ranker={
        "version": "yesterday's",
        "ndcg": 0.41,
        "first_ndcg": 0.38,
        "tasks": 98,
        "importance": {"solve rank": 0.2, "titled": -0.001},
    },
    neighbours=[("track", "Creep", [("Karma Police", 0.91), ("Hurt", 0.8)])],
    recall={"tracks": [(500, 0.8, 0.1), (1000, 0.975, 0.3)], "artists": [(100, 0.99, 0.05)]},
    efforts={"tracks": 1000},
    steps=[("read", 12.0, 1_500.0), ("fit", 72.4, 2_500.0)],
    warm_start={"from": "yesterday's", "iterations": 3, "seconds": 30.0, "cold_iterations": 8, "cold_seconds": 80.0},
)
HOSTILE = "</script><script>alert(1)</script><img src=x onerror='alert(2)'>\"&amp;<b>"


class Page(HTMLParser):
    """What a browser would make of a page: its elements, the text a person reads, and the charts."""

    def __init__(self, page: str):
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.scripts: list[str] = []
        self.text = ""
        self._open: list[str] = []
        self.feed(page)
        self.close()
        assert not self._open, "everything opened is closed"

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag not in ("meta", "link"):
            self._open.append(tag)
        if tag == "script":
            self.scripts.append("")

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self._open and self._open[-1] == "script":
            self.scripts[-1] += data
        elif self._open and self._open[-1] != "style":
            self.text += data.replace("\N{NO-BREAK SPACE}", " ")

    def headings(self) -> list[str]:
        return [str(attrs["id"]) for tag, attrs in self.elements if tag == "section"]

    def charts(self) -> dict[str, dict]:
        kinds = [attrs.get("type") for tag, attrs in self.elements if tag == "script"]
        ids = [str(attrs["id"]) for tag, attrs in self.elements if attrs.get("class") == "plot"]
        figures = [
            json.loads(script, parse_constant=pytest.fail)  # NaN and Infinity
            for kind, script in zip(kinds, self.scripts, strict=True)
            if kind == "application/json"
        ]
        return dict(zip(ids, figures, strict=True))


def test_a_full_report_has_every_section_and_chart():
    page = Page(render(FULL))

    assert page.headings() == [
        "quality",
        "the-ranker",
        "against-the-published-version",
        "neighbours",
        "the-input",
        "the-data",
        "the-fit",
        "the-index",
        "the-run",
        "numbers",
    ]
    quality = [f"chart-quality-{number}" for number in range(4)]
    assert list(page.charts()) == [
        *quality,
        "chart-changes",
        "chart-popularity",
        "chart-loss",
        "chart-recall-0",
        "chart-recall-1",
    ]


def test_the_ranker_is_told_with_the_importance_of_its_inputs():
    text = " ".join(Page(render(FULL)).text.split())

    assert "98 playlists that did not teach it, taught for yesterday's" in text.replace("listeners", "playlists")
    assert "ranked.4100 first stage.3800" in text
    assert "solve rank20.0 % titled\N{MINUS SIGN}0.1 %" in text


def test_the_first_stage_is_no_baseline():
    quality = {"segue": {"all": MEASURED}, "first stage": {"all": {**MEASURED, "ndcg": 0.24}}}

    assert "against first stage" not in Page(render(replace(FULL, quality=quality))).text
    assert "against item kNN" in Page(render(replace(FULL, quality={**quality, "item kNN": {"all": WORSE}}))).text


def test_the_input_is_told_with_all_that_was_not_used():
    text = " ".join(Page(render(FULL)).text.split())

    assert "Exportify, 3 files, 12 rows" in text
    assert "passed over 2: no track id (a.csv row 7)" in text
    assert "a note" in text
    assert "passed over data/a.xlsx: it is a spreadsheet." in text


def test_a_bare_report_says_that_nothing_was_measured_and_leaves_the_rest_out():
    page = Page(render(BARE))

    assert page.headings() == ["quality"]
    assert "No playlists were held out, so nothing was measured." in page.text
    assert not page.charts()


@pytest.mark.parametrize(
    ("part", "section"),
    [
        ("ranker", "the-ranker"),
        ("comparison", "against-the-published-version"),
        ("neighbours", "neighbours"),
        ("losses", "the-fit"),
        ("recall", "the-index"),
        ("steps", "the-run"),
        ("numbers", "numbers"),
    ],
)
def test_a_section_goes_with_its_part(part: str, section: str):
    without = replace(FULL, warm_start=None, **{part: getattr(BARE, part)})

    assert section in Page(render(replace(FULL, warm_start=None))).headings()
    assert section not in Page(render(without)).headings()


def test_the_data_are_told_for_as_long_as_any_of_them_are_known():
    none = {part: getattr(BARE, part) for part in ("counts", "popularity", "lengths", "title_words")}

    for part in none:
        assert "the-data" in Page(render(replace(FULL, **{**none, part: getattr(FULL, part)}))).headings()
    assert "the-data" not in Page(render(replace(FULL, **none))).headings()


@pytest.mark.parametrize(("passed", "outcome"), [(True, "passed"), (False, "refused")])
def test_the_verdict_is_told_with_its_outcome(passed: bool, outcome: str):
    page = Page(render(replace(FULL, passed=passed, verdict="NDCG .2412 against .2409")))

    assert "NDCG .2412 against .2409" in page.text
    assert [attrs["class"] for _, attrs in page.elements if "verdict" in str(attrs.get("class"))] == [
        f"verdict {outcome}"
    ]


def test_numbers_are_written_for_people():
    text = Page(render(FULL)).text

    assert "2,262,292" in text
    assert ".2412" in text
    assert "1 min 12 s" in text
    assert "2,500 MiB" in text
    assert "2 January 2026, 03:04 UTC" in text
    assert "+20.6 % against popularity" in text


def test_the_best_of_each_column_is_marked_and_of_clicks_that_is_the_lowest():
    page = render(FULL)

    assert '<td class="best">1.50</td>' in page
    assert "<td>9.50</td>" in page
    assert '<td class="best">.2412</td>' in page
    assert "Lower is better." in page


def test_a_recommender_has_one_colour_in_all_charts_and_ours_lies_on_top():
    charts = [chart for name, chart in Page(render(FULL)).charts().items() if "quality" in name]
    colours = [[trace["marker"]["color"] for trace in chart["data"]] for chart in charts]

    assert all(row == colours[0] for row in colours)
    assert len(set(colours[0])) == 3
    assert [trace["zorder"] for trace in charts[0]["data"]] == [1, 0, 0]


def test_recommenders_without_a_colour_of_their_own_get_different_ones():
    quality = dict.fromkeys(("segue", "mine", "yours"), FULL.quality["segue"])
    chart = Page(render(replace(FULL, quality=quality))).charts()["chart-quality-0"]

    assert len({trace["marker"]["color"] for trace in chart["data"]}) == 3


def test_one_category_is_one_chart_of_all_measures():
    row = {"precision_at_10": 0.2, "ndcg": 0.3, "coverage": 0.1, "playlists": 9}
    quality = {"segue": {"all": row, "listening": row}}
    charts = Page(render(replace(FULL, kind="artists", quality=quality))).charts()

    assert [name for name in charts if "quality" in name] == ["chart-quality-0"]
    assert charts["chart-quality-0"]["layout"]["yaxis"]["ticktext"] == ["NDCG", "Precision at 10"]


def test_the_chosen_effort_is_marked_on_the_curve():
    page = Page(render(FULL))
    curve, chosen = page.charts()["chart-recall-0"]["data"]

    assert curve["y"] == [80, 97.5]
    assert (chosen["x"], chosen["y"], chosen["marker"]["symbol"]) == ([0.3], [97.5], "diamond")
    assert "effort 1,000, 97.5 % in 0.3 ms" in page.text
    assert len(page.charts()["chart-recall-1"]["data"]) == 1


def test_intervals_reach_from_low_to_high_around_the_zero_line():
    chart = Page(render(FULL)).charts()["chart-changes"]
    (trace,) = chart["data"]

    assert trace["x"] == pytest.approx([0.1, -0.2])
    assert trace["error_x"]["array"] == pytest.approx([0.9, 1.1])
    assert trace["error_x"]["arrayminus"] == pytest.approx([0.9, 1.1])
    assert chart["layout"]["xaxis"]["range"] == pytest.approx([-1.15 * 1.3, 1.15 * 1.3])


def test_every_chart_is_one_that_plotly_knows_and_that_a_finger_scrolls_past():
    for chart in Page(render(FULL)).charts().values():
        Figure(chart, skip_invalid=False)
        assert chart["layout"]["dragmode"] is False
        assert chart["layout"]["xaxis"]["fixedrange"]
        assert chart["layout"]["yaxis"]["fixedrange"]


def hostile(text: str) -> Report:
    """A report that has *text* wherever data have a text."""
    row = {**MEASURED, text: 0.5}
    return Report(
        version=text,
        created_at=text,
        kind="tracks",
        profile=text,
        verdict=text,
        passed=False,
        numbers={text: text},
        inputs=[(text, text, {text: [text]})],
        passed_over=[text],
        counts={text: 1},
        popularity=[(1, 2), (2, 1)],
        lengths=[(text, 1)],
        title_words=[(text, 1)],
        losses=[1.0],
        quality={name: dict.fromkeys(("all", "title", text), row) for name in ("segue", text)},
        comparison={"against": text, "playlists": 1, "overlap": {text: 0.5}, "changes": {text: (0.1, 0.0, 0.2)}},
        ranker={"version": text, "ndcg": 0.4, "first_ndcg": 0.3, "tasks": 1, "importance": {text: 0.1}},
        neighbours=[(text, text, [(text, 0.5)])],
        recall={text: [(1, 0.5, 0.5)]},
        efforts={text: 1},
        steps=[(text, 1.0, 1.0)],
        warm_start={"from": text, "iterations": 1, "seconds": 1.0, "cold_iterations": 2, "cold_seconds": 2.0},
    )


def strings(value: object) -> list[str]:
    """All strings in a chart."""
    if isinstance(value, dict):
        return [text for inner in value.values() for text in strings(inner)]
    if isinstance(value, list):
        return [text for inner in value for text in strings(inner)]
    return [value] if isinstance(value, str) else []


def shape(page: Page) -> list[tuple[str, list[str]]]:
    return [(tag, list(attrs)) for tag, attrs in page.elements]


@pytest.mark.parametrize(
    "text",
    [
        HOSTILE,
        "<script>",
        "</script>",
        "<!--<script>",
        "</style></title>",
        "]]>",
        '" onload="x',
        "' x='",
        "&lt;b&gt;",
        "</bdi><bdi>",
    ],
)
def test_no_text_of_the_data_becomes_part_of_the_page(text: str):
    page = Page(render(hostile(text)))

    assert shape(page) == shape(Page(render(hostile("harmless"))))
    assert page.text.count(text[:20]) >= 12  # a person reads it as it is
    assert not any("<" in script for script in page.scripts[:-2])  # nothing there can end a script or open a comment
    for chart in page.charts().values():  # plotly reads tags in labels
        assert {tag for label in strings(chart) for tag in re.findall(r"<[^>]*>?", label)} <= {"<br>"}


def test_the_browser_is_told_to_run_two_scripts_and_to_load_nothing():
    page = Page(render(hostile(HOSTILE)))
    (policy,) = [attrs["content"] for tag, attrs in page.elements if tag == "meta" and "http-equiv" in attrs]

    assert str(policy).startswith("default-src 'none'; script-src 'sha256-")
    assert str(policy).count("'sha256-") == 2
    assert "unsafe-inline" not in str(policy).split("style-src")[0]


def test_a_page_loads_nothing_and_has_the_charts_library_once():
    page = render(FULL)

    assert page.count(get_plotlyjs()) == 1
    own = page.replace(get_plotlyjs(), "")
    assert "http://" not in own
    assert "https://" not in own
    assert "@import" not in own
    assert "url(" not in own
    addresses = [attrs[name] for _, attrs in Page(page).elements for name in ("src", "href") if name in attrs]
    assert all(str(address).startswith(("#", "data:,")) for address in addresses)


def test_links_lead_to_the_sections():
    page = Page(render(FULL))

    assert [attrs["href"] for tag, attrs in page.elements if tag == "a"] == [f"#{id_}" for id_ in page.headings()]


def test_the_same_report_gives_the_same_bytes():
    assert render(FULL).encode() == render(replace(FULL)).encode()


def test_ids_are_given_once():
    ids = [attrs["id"] for _, attrs in Page(render(FULL)).elements if "id" in attrs]

    assert len(ids) == len(set(ids))


def test_a_long_name_ends_in_an_ellipsis():
    text = Page(render(hostile("x" * 1000))).text

    assert "x" * 59 + "…" in text
    assert "x" * 401 not in text


@pytest.mark.parametrize("name", ["🎄 عمرو دياب", "坂本龍一", "naïve café"])
def test_names_of_the_world_are_shown_as_they_are(name: str):
    assert name in Page(render(hostile(name))).text


@pytest.mark.parametrize("name", ["a\u202eb", "a\x00b", "a\ud800b", "a\u2028b", "a\n\tb"], ids=ascii)
def test_what_is_no_text_is_taken_out(name: str):
    page = render(hostile(name))

    page.encode()
    assert "a b" in Page(page).text
    assert name not in page


def test_an_empty_name_is_told_as_one():
    assert "(no name)" in Page(render(replace(FULL, title_words=[("", 1)]))).text


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_what_is_no_number_is_no_part_of_a_chart(bad: float):
    report = replace(
        FULL,
        numbers={"bad": bad},
        losses=[bad, 0.3, bad],
        quality={name: {**table, "5": dict.fromkeys(MEASURED, bad)} for name, table in FULL.quality.items()}
        | {"plain ALS": {"all": dict.fromkeys(MEASURED, bad)}},
        comparison={"against": "x", "playlists": 1, "overlap": {10: bad}, "changes": {"ndcg": (bad, bad, bad)}},
        ranker={"version": "x", "ndcg": bad, "first_ndcg": bad, "tasks": 1, "importance": {"titled": bad}},
        neighbours=[("track", "x", [("y", bad)])],
        recall={"tracks": [(1, bad, 1.0), (2, 0.5, bad), (3, 0.5, 1.0)]},
        steps=[("fit", bad, bad)],
    )

    page = Page(render(report))

    assert page.charts()["chart-loss"]["data"][0]["y"] == [None, 0.3, None]
    assert "nan" not in page.text.lower()


def test_a_recall_without_a_single_point_has_no_chart():
    assert "the-index" not in Page(render(replace(FULL, recall={"tracks": []}))).headings()
    assert "the-index" not in Page(render(replace(FULL, recall={"tracks": [(1, 0.5, 0.0)]}))).headings()


@pytest.mark.parametrize("count", [0, 1])
def test_all_of_nothing_and_of_one_are_drawn(count: int):
    report = replace(
        FULL,
        popularity=[(1, count)],
        lengths=[("5", count)],
        title_words=[("chill", count)],
        losses=[float(count)],
        steps=[("fit", float(count), float(count))],
        quality={"segue": {"all": dict.fromkeys(MEASURED, float(count))}},
        comparison={"against": "x", "playlists": count, "overlap": {}, "changes": {}},
    )

    assert "the-run" in Page(render(report)).headings()


def test_an_installed_trainer_has_the_templates():
    data = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["package-data"]

    assert data["trainer.report"] == [f"{TEMPLATES.name}/*"]
    assert all(path.is_file() for path in TEMPLATES.iterdir())
