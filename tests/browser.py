"""
The page at `/` in a real Chromium: `make test-browser`.

It needs Chromium (Debian: `chromium`). `make test` leaves it out, and so its name does not begin with `test_`.
"""

import csv
import io
import json
import os
import shutil
import socket
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from subprocess import PIPE, STDOUT
from typing import Any
from urllib.parse import parse_qs

import httpx
import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, BrowserContext, Locator, Page, Route, expect, sync_playwright
from playwright.sync_api import Error as PlaywrightError

from tests.conftest import TINY
from tests.service.serving import KEYS, key_file
from trainer.config import Configs
from trainer.pipeline import Plan, train
from trainer.synthetic.playlists import synthesize

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
ROOT = Path(__file__).parents[1]
# Names of the most popular tracks, which a page, a table or a playlist might take for something else.
MARKUP = '<img src=x onerror="document.title = 1"><b>bold</b>'
FORMULA, QUOTED, NEGATIVE = '=HYPERLINK("http://x")', 'Comma, "quotes"', "-1+1"
ODD = (MARKUP, FORMULA, QUOTED, NEGATIVE)
PHONE, DESKTOP = {"width": 390, "height": 844}, {"width": 1280, "height": 900}

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium here: the page was not tested in a browser")


# The service


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store with a small model, whose most popular tracks have odd names."""
    directory = tmp_path_factory.mktemp("browser")
    synthesize(directory / "world", 1200, seed=1)
    slices = {path: json.loads(path.read_text()) for path in (directory / "world").glob("*.json")}
    tracks = [track for each in slices.values() for playlist in each["playlists"] for track in playlist["tracks"]]
    popular = [uri for uri, _ in Counter(track["track_uri"] for track in tracks).most_common(len(ODD))]
    renamed = dict(zip(popular, ODD, strict=True))
    for track in tracks:
        track["track_name"] = renamed.get(track["track_uri"], track["track_name"])
    for path, content in slices.items():
        path.write_text(json.dumps(content))
    train([directory / "world"], directory / "models", Configs.always(TINY), Plan(baselines=False))
    return directory / "models"


@contextmanager
def serving(models: Path, told: str = "serving version", prefix: str = "/", **settings: str) -> Iterator[httpx.Client]:
    """Start `python -m service`, wait until it has *told* how it stands, and return a client of it."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    own = {"SEGUE_MODELS": str(models), "SEGUE_PORT": str(port), "SEGUE_ACCESS_LOG": "false"} | settings
    command = [sys.executable, "-m", "service"]
    with subprocess.Popen(command, cwd=ROOT, env=os.environ | own, stdout=PIPE, stderr=STDOUT, text=True) as process:
        try:
            assert process.stdout is not None
            assert any(told in line for line in process.stdout), "it ended"
            with httpx.Client(base_url=f"http://127.0.0.1:{port}{prefix}", timeout=30) as client:
                yield client
        finally:
            process.terminate()


@pytest.fixture(scope="module")
def service(models: Path) -> Iterator[httpx.Client]:
    with serving(models) as client:
        yield client


# The browser


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        options = ["--no-sandbox", "--disable-dev-shm-usage"]
        chromium = playwright.chromium.launch(executable_path=CHROMIUM, args=options)
        yield chromium
        chromium.close()


@contextmanager
def visit(browser: Browser, service: httpx.Client, path: str = "", **options: Any) -> Iterator[Page]:
    """Open the page in a new session; afterwards nothing may have failed on it."""
    context = browser.new_context(**{"viewport": DESKTOP, **options})
    with tab(context, service, path) as page:
        yield page
    context.close()


@contextmanager
def tab(context: BrowserContext, service: httpx.Client, path: str = "") -> Iterator[Page]:
    page, faults = context.new_page(), []
    page.set_default_timeout(10_000)
    page.on("pageerror", lambda error: faults.append(str(error)))
    page.on("console", lambda message: faults.append(message.text) if message.type == "error" else None)
    page.goto(f"{service.base_url}{path}")
    yield page
    # The console also has an error for each refusal of the service.
    assert [fault for fault in faults if not fault.startswith("Failed to load resource")] == []


@pytest.fixture
def page(browser: Browser, service: httpx.Client) -> Iterator[Page]:
    """The page with its first answer."""
    with visit(browser, service) as page:
        settle(page)
        yield page


def settle(page: Page) -> None:
    """Wait for the answer to the last change."""
    expect(page.locator("#items")).to_have_attribute("aria-busy", "false", timeout=20_000)


def items(page: Page) -> list[str]:
    settle(page)
    return page.locator("#items > li > .names > .name").all_text_contents()


def seeds(page: Page) -> list[str]:
    return page.locator("#seeds .name").all_text_contents()


def row(page: Page, place: int) -> Locator:
    return page.locator("#items > li").nth(place)


def press(row: Locator, name: str) -> None:
    row.locator(f'[data-action="{name}"]').first.click()


def search(page: Page, text: str) -> Locator:
    """Type *text* into the search field and return its suggestions."""
    page.get_by_label("Add tracks and artists").press_sequentially(text)
    suggestions = page.locator("#suggestions [role=option]")
    expect(suggestions.last).to_contain_text(text)
    return suggestions


def ask(service: httpx.Client, **body: Any) -> Any:
    return service.post("recommend", json=body).raise_for_status().json()


# A visit


def test_a_first_visit_shows_the_most_popular_and_examples_that_continue(page: Page, service: httpx.Client):
    popular = items(page)
    chips = page.locator("#hint button")

    assert popular == [track["name"] for track in ask(service)["tracks"]]
    expect(page.locator("#status")).to_contain_text("100 tracks, the most popular")
    assert chips.count() == 3
    name = chips.nth(1).text_content()
    chips.nth(1).click()
    assert items(page) != popular
    assert seeds(page) == [name]
    expect(page.locator("#hint")).to_be_hidden()


def test_the_page_says_which_model_answered(page: Page, service: httpx.Client):
    model = service.get("model").json()
    expect(page.locator("#model")).to_contain_text(model["version"])
    text = page.locator("#model").inner_text()

    assert " ago" in text
    assert f"{model['shape']['tracks']:,} tracks, {model['shape']['artists']:,} artists" in text
    assert f"{model['data']['playlists']:,} playlists" in text
    assert f"NDCG {model['metrics']['ndcg']:.3f}" in text


def test_tracks_and_artists_are_found_and_added_with_the_keyboard_alone(page: Page, service: httpx.Client):
    track = ask(service)["tracks"][10]
    suggestions = search(page, track["name"])
    found = suggestions.locator(".name").all_text_contents()

    assert track["name"] in found
    for _ in range(found.index(track["name"]) + 1):
        page.keyboard.press("ArrowDown")
    selected = page.locator("#suggestions [aria-selected=true]")
    assert selected.get_attribute("id") == page.locator("#search").get_attribute("aria-activedescendant")
    page.keyboard.press("Enter")
    settle(page)
    search(page, track["artist"]["name"])
    page.keyboard.press("Enter")

    assert items(page) == [
        each["name"] for each in ask(service, tracks=[track["id"]], artists=[track["artist"]["id"]])["tracks"]
    ]
    assert seeds(page) == [track["name"], track["artist"]["name"]]
    expect(page.locator("#search")).to_be_focused()


def test_enter_before_the_suggestions_adds_the_first_of_them(page: Page, service: httpx.Client):
    artist = ask(service, kind="artists")["artists"][0]["name"]
    page.locator("#search").fill(artist)
    page.locator("#search").press("Enter")

    expect(page.locator("#seeds .name")).to_have_text(artist)


def test_an_id_is_added_as_it_is(page: Page, service: httpx.Client):
    track = ask(service)["tracks"][7]
    search(page, track["id"])
    page.keyboard.press("Enter")
    settle(page)

    expect(page.locator("#seeds .name")).to_have_text(track["name"])


def test_many_lines_are_pasted_at_once(page: Page, service: httpx.Client):
    tracks = ask(service)["tracks"][5:8]
    lines = [tracks[0]["id"], f"{tracks[1]['artist']['name']} - {tracks[1]['name']}", "Nobody - Nothing", ""]
    page.get_by_text("Paste a list").click()
    page.locator("#lines").fill("\n".join(lines))
    page.get_by_role("button", name="Add all").click()
    settle(page)

    assert seeds(page) == [tracks[0]["name"], tracks[1]["name"], "Nobody - Nothing"]
    expect(page.locator("#seeds .unknown")).to_contain_text("not known")


def test_lines_pasted_into_the_search_field_are_added(page: Page, service: httpx.Client):
    ids = [track["id"] for track in ask(service)["tracks"][5:8]]
    page.locator("#search").evaluate(
        """(field, text) => {
            const data = new DataTransfer();
            data.setData("text", text);
            field.dispatchEvent(new ClipboardEvent("paste", { clipboardData: data, bubbles: true, cancelable: true }));
        }""",
        "\r\n".join(ids),
    )

    expect(page.locator("#seeds li")).to_have_count(3)


def test_the_title_continues_too(page: Page, service: httpx.Client):
    popular = items(page)
    page.get_by_label("Title").press_sequentially("late night jazz")
    settle(page)

    assert items(page) == [track["name"] for track in ask(service, title="late night jazz")["tracks"]] != popular
    page.get_by_label("Title").fill("xqzw")
    settle(page)
    expect(page.locator("#title-note")).to_have_text("No word of this title is known.")


def test_each_change_of_the_playlist_can_be_undone(page: Page):
    states = [(seeds(page), items(page))]
    for change in (
        lambda: press(row(page, 0), "add"),
        lambda: press(row(page, 3), "dislike"),
        lambda: page.locator("#title").press_sequentially("jazz"),
        lambda: page.locator("#seeds [data-action=remove]").click(),
        lambda: page.get_by_role("button", name="Clear").click(),
    ):
        change()
        states.append((seeds(page), items(page)))
    assert len({str(state) for state in states}) == 5  # the last is the first

    for before in reversed(states[1:-1]):
        page.keyboard.press("Control+z")
        assert (seeds(page), items(page)) == before
    page.get_by_role("button", name="Undo").click()
    assert (seeds(page), items(page)) == states[0]
    expect(page.get_by_role("button", name="Undo")).to_be_disabled()


def test_text_that_one_is_typing_is_undone_by_the_browser(page: Page):
    press(row(page, 0), "add")
    settle(page)
    page.locator("#search").press_sequentially("abc")
    page.keyboard.press("Control+z")

    assert len(seeds(page)) == 1


def test_a_disliked_item_and_those_like_it_are_gone_until_it_is_not(page: Page):
    first = items(page)[0]
    with page.expect_request("**/recommend") as sent:
        press(row(page, 0), "dislike")

    assert list(sent.value.post_data_json["dislikes"]) == ["tracks"]
    assert first not in items(page)
    assert page.locator("#dislikes .name").all_text_contents() == [first]
    page.locator("#dislikes button").click()
    assert first in items(page)


def test_neighbours_are_shown_and_added(page: Page, service: httpx.Client):
    track = ask(service)["tracks"][4]
    press(row(page, 4), "similar")
    near = row(page, 4).locator(".panel li .name")
    expect(near).to_have_count(10)
    names = near.all_text_contents()

    assert names == [
        each["name"] for each in service.get("similar", params={"track": track["id"], "k": 10}).json()["tracks"]
    ]
    row(page, 4).locator(".panel li button").nth(2).click()
    settle(page)
    assert seeds(page) == [names[2]]
    press(row(page, items(page).index(track["name"])), "similar")
    expect(page.locator(".panel")).to_have_count(0)


def test_reasons_name_the_seeds_by_their_shares(page: Page):
    for _ in range(2):
        press(row(page, 0), "add")
        settle(page)
    chosen = seeds(page) + page.locator("#seeds .below").all_text_contents()
    with page.expect_request(lambda request: "explain" in (request.post_data or "")) as sent:
        press(row(page, 6), "why")
    panel = row(page, 6).locator(".panel")
    expect(panel.locator(".shares li").first).to_be_visible()

    item = sent.value.response().json()["tracks"][6]
    assert sent.value.post_data_json["k"] == 7
    shares = [each["share"] for each in item["reasons"]["shares"] if each["share"] > 0][:6]
    assert panel.locator(".shares .score").all_text_contents() == [f"{share:.3f}" for share in shares]
    named = " ".join(panel.locator(".shares .name").all_text_contents())
    assert any(name in named for name in chosen)
    assert "spotify:" not in named
    widths = [bar.bounding_box()["width"] for bar in panel.locator(".share").all()]
    assert widths == sorted(widths, reverse=True)
    texts = panel.locator("p").all_text_contents()
    assert [text.lower() for text in texts] == [f"{text}.".lower() for text in item["reasons"]["because"]]


def test_controls_are_sent_only_when_they_differ_from_their_defaults(page: Page):
    page.get_by_text("Tune", exact=True).click()
    for change, field, value in (
        (lambda: page.get_by_label("Popularity").fill("-0.5"), "popularity", -0.5),
        (lambda: page.get_by_label("Diversity").fill("1"), "diversity", 1),
        (lambda: page.get_by_label("Tracks of one artist").fill("2"), "max_per_artist", 2),
        (lambda: page.get_by_label("One recording of a song").check(), "distinct", True),
        (lambda: page.get_by_label("Only artists new").check(), "discover", True),
        (lambda: page.get_by_label("Number").fill("20"), "k", 20),
        (lambda: page.get_by_role("radio", name="Artists").check(), "kind", "artists"),
    ):
        with page.expect_request("**/recommend") as sent:
            change()
        assert sent.value.post_data_json[field] == value
        settle(page)
    assert page.locator("#items > li").count() == 20
    with page.expect_request("**/recommend") as sent:
        page.get_by_role("button", name="Reset").click()
    assert sent.value.post_data_json == {"kind": "artists", "k": 20}


def test_refresh_draws_other_items_and_the_best_come_back(page: Page):
    press(row(page, 0), "add")
    best = items(page)
    page.get_by_text("Tune", exact=True).click()
    page.get_by_role("button", name="Refresh").click()
    assert items(page) != best
    page.get_by_role("button", name="Back to the best").click()
    assert items(page) == best
    expect(page.get_by_role("button", name="Back to the best")).to_be_hidden()


def test_artists_are_continued_and_disliked_as_artists(page: Page):
    page.get_by_role("radio", name="Artists").check()
    settle(page)
    expect(page.locator("#status")).to_contain_text("100 artists")
    name = items(page)[2]
    press(row(page, 2), "add")
    settle(page)

    assert seeds(page) == [name]
    press(row(page, 0), "similar")
    expect(row(page, 0).locator(".panel li")).to_have_count(10)
    with page.expect_request("**/recommend") as sent:
        press(row(page, 1), "dislike")
    assert list(sent.value.post_data_json["dislikes"]) == ["artists"]


def test_the_focus_stays_in_the_list_when_an_item_is_added(page: Page):
    row(page, 3).locator('[data-action="add"]').focus()
    page.keyboard.press("Enter")
    settle(page)

    expect(row(page, 3).locator('[data-action="add"]')).to_be_focused()


# Export


def export(page: Page, name: str, file: str = "late night") -> str:
    if page.locator("#export[open]").count() == 0:
        page.get_by_text("Export").click()
    with page.expect_download() as download:
        page.get_by_role("button", name=name).click()
    assert download.value.suggested_filename == f"{file}.{name.lower()}"
    return Path(download.value.path()).read_bytes().decode()


@pytest.fixture
def titled(page: Page) -> Page:
    """The page with two seeds and a title."""
    page.get_by_label("Title").fill("late night")
    settle(page)
    for _ in range(2):
        press(row(page, 0), "add")
        settle(page)
    return page


def test_a_table_has_all_items_and_no_formulas(titled: Page, service: httpx.Client):
    text = export(titled, "CSV")
    table = list(csv.reader(io.StringIO(text.removeprefix("\ufeff"), newline="")))
    answer = ask(service, title="late night", tracks=parse_qs(titled.url.partition("#")[2])["track"])

    assert text.startswith("\ufeffid,name,artist,score\r\n")
    assert [(each[0], each[2]) for each in table[1:]] == [(t["id"], t["artist"]["name"]) for t in answer["tracks"]]
    assert [float(each[3]) for each in table[1:]] == [track["score"] for track in answer["tracks"]]
    titled.get_by_role("button", name="Clear").click()
    settle(titled)
    names = [each[1] for each in csv.reader(io.StringIO(export(titled, "CSV", "continuation"), newline=""))]
    assert {MARKUP, f"'{FORMULA}", QUOTED, f"'{NEGATIVE}"} <= set(names)
    assert not [name for name in names if name.startswith(("=", "+", "-", "@"))]


def test_a_playlist_for_players_has_ids_and_names(titled: Page):
    titled.get_by_text("Export").click()
    titled.get_by_label("Playlist first").check()
    lines = export(titled, "M3U8").splitlines()

    assert lines[:2] == ["#EXTM3U", "#PLAYLIST:late night"]
    assert len(lines) == 2 + 2 * 102
    assert [line.partition(" - ")[2] for line in lines[2:6:2]] == seeds(titled)
    assert all(line.startswith("#EXTINF:-1,") for line in lines[2::2])
    assert all(line.startswith("spotify:track:") for line in lines[3::2])


def test_a_playlist_as_json_has_uris_and_creators(titled: Page):
    playlist = json.loads(export(titled, "JSPF"))["playlist"]

    assert playlist["title"] == "late night"
    assert [track["title"] for track in playlist["track"]] == items(titled)
    assert all(track["creator"] and track["identifier"][0].startswith("spotify:track:") for track in playlist["track"])


@pytest.mark.parametrize("title", ["late night", 'it\'s a "test" $HOME `x` \\ !'])
def test_the_copied_command_gives_the_answer_that_is_shown(title: str, browser: Browser, service: httpx.Client):
    with visit(browser, service, permissions=["clipboard-read", "clipboard-write"]) as page:
        page.get_by_label("Title").fill(title)
        settle(page)
        press(row(page, 0), "add")
        settle(page)
        page.get_by_text("Export").click()
        page.get_by_role("button", name="Copy as curl").click()
        expect(page.locator("#copied-note")).to_have_text("Copied.")
        line = page.evaluate("navigator.clipboard.readText()")

        assert line == page.locator("#command").input_value()
        answer = json.loads(subprocess.check_output(line, shell=True))
        assert [track["name"] for track in answer["tracks"]] == items(page)


# Errors, and answers that are late


def test_the_reason_of_an_error_is_shown_until_an_answer_comes(page: Page):
    shown = items(page)
    page.get_by_label("Number").fill("501")
    expect(page.locator("#notice")).to_contain_text("body.k: Input should be less than or equal to 500")
    page.get_by_label("Number").fill("10")

    assert items(page) == shown[:10]
    expect(page.locator("#notice")).to_be_empty()


def test_an_overloaded_service_is_asked_again_when_it_says(page: Page):
    refusals: list[float] = []

    def refuse_once(route: Route) -> None:
        refusals.append(time.monotonic())
        if len(refusals) > 1:
            route.continue_()
            return
        detail = json.dumps({"status": 503, "detail": "the service is overloaded"})
        headers = {"Retry-After": "1", "Content-Type": "application/problem+json"}
        route.fulfill(status=503, headers=headers, body=detail)

    page.route("**/recommend", refuse_once)
    page.get_by_label("Title").fill("jazz")
    expect(page.locator("#notice")).to_contain_text("the service is overloaded")
    expect(page.locator("#notice")).to_contain_text("Trying again in 1 second.")
    settle(page)

    expect(page.locator("#notice")).to_be_empty()
    assert len(refusals) == 2
    assert refusals[1] - refusals[0] >= 1


def test_a_service_that_is_gone_for_a_while_is_asked_again(page: Page):
    page.route("**/recommend", lambda route: route.abort())
    page.get_by_label("Title").fill("jazz")
    expect(page.locator("#notice")).to_contain_text("cannot be reached")
    page.unroute("**/recommend")
    settle(page)

    expect(page.locator("#notice")).to_be_empty()


LATE = """
const send = window.fetch;
window.fetch = async (address, options) => {
  const response = send(address, { ...options, signal: undefined });
  if (options?.body?.includes('"late"')) await new Promise((resolve) => setTimeout(resolve, 1500));
  return response;
};
"""


def test_a_late_answer_does_not_replace_a_newer_one(browser: Browser, service: httpx.Client):
    context = browser.new_context(viewport=DESKTOP)
    context.add_init_script(LATE)
    with tab(context, service) as page:
        settle(page)
        with page.expect_request(lambda request: "late" in (request.post_data or "")):
            page.get_by_label("Title").fill("late")
        page.get_by_label("Title").fill("jazz")
        expect(page.locator("#status")).not_to_contain_text("popular")
        shown = items(page)
        page.wait_for_timeout(2500)

        assert items(page) == shown == [track["name"] for track in ask(service, title="jazz")["tracks"]]
    context.close()


def test_a_page_without_a_model_says_so_and_goes_on_by_itself(browser: Browser, models: Path, tmp_path: Path):
    with serving(tmp_path / "models", told="not ready") as service, visit(browser, service) as page:
        expect(page.locator("#notice")).to_contain_text("No model is served yet")
        assert violations(page) == []
        shutil.copytree(models, tmp_path / "models")
        expect(page.locator("#items > li")).to_have_count(100, timeout=20_000)
        expect(page.locator("#notice")).to_be_empty()


@pytest.mark.parametrize(
    ("path", "text"), [("", "The catalogue is empty."), ("#title=x", "Nothing is left to recommend")]
)
def test_an_answer_without_items_is_explained(path: str, text: str, browser: Browser, service: httpx.Client):
    def empty(route: Route) -> None:
        route.fulfill(json={**route.fetch().json(), "tracks": []})

    context = browser.new_context(viewport=DESKTOP)
    context.route("**/recommend", empty)
    with tab(context, service, path) as page:
        expect(page.locator("#items")).to_contain_text(text)
    context.close()


def test_names_are_text_and_no_markup(page: Page, service: httpx.Client):
    assert MARKUP in items(page)[: len(ODD)]
    search(page, MARKUP)
    page.keyboard.press("Enter")
    settle(page)
    press(row(page, 0), "similar")
    press(row(page, 1), "why")

    assert MARKUP in seeds(page)
    assert page.locator("img, b").count() == 0
    assert page.title() == "Segue"


def test_the_browser_refuses_text_as_markup(browser: Browser, service: httpx.Client):
    with browser.new_context() as context:
        page = context.new_page()
        page.goto(str(service.base_url))
        with pytest.raises(PlaywrightError, match="TrustedHTML"):
            page.evaluate("document.body.innerHTML = '<b>x</b>'")


# The address


def test_the_state_survives_a_reload_and_can_be_shared(titled: Page, browser: Browser, service: httpx.Client):
    disliked = items(titled)[4]
    press(row(titled, 4), "dislike")
    titled.get_by_label("Number").fill("30")
    settle(titled)
    before = (items(titled), seeds(titled), titled.url)
    titled.reload()
    expect(titled.locator("#dislikes .name")).to_have_text(disliked)

    assert (items(titled), seeds(titled), titled.url) == before
    with visit(browser, service, f"#{titled.url.partition('#')[2]}") as other:
        assert (items(other), seeds(other)) == before[:2]
        assert other.get_by_label("Title").input_value() == "late night"


@pytest.mark.parametrize("state", ["constructor=1&__proto__=2&x", "k=abc", "kind=x&popularity=9", "track=&artist=%00"])
def test_an_odd_address_is_no_fault_of_the_page(state: str, browser: Browser, service: httpx.Client):
    with visit(browser, service, f"#{state}") as page:
        settle(page)


@pytest.mark.parametrize("prefix", ["/segue/", "/apps/search/"])
def test_the_page_works_under_a_prefix(prefix: str, browser: Browser, models: Path):
    with (
        serving(models, prefix=prefix, SEGUE_ROOT_PATH=prefix.rstrip("/")) as service,
        visit(browser, service) as page,
    ):
        assert len(items(page)) == 100


# Keys


def test_a_key_is_asked_for_and_stays_in_its_session(browser: Browser, models: Path, tmp_path: Path):
    with serving(models, SEGUE_KEYS=str(key_file(tmp_path / "keys.json"))) as service:
        with visit(browser, service) as page:
            expect(page.locator("#notice")).to_have_text("This service needs a key.")
            expect(page.get_by_label("Key")).to_be_focused()
            assert violations(page) == []
            page.keyboard.type("segue_wrong")
            page.keyboard.press("Enter")
            expect(page.locator("#notice")).to_have_text("This key is not valid.")
            page.get_by_label("Key").fill(KEYS["metrics"])
            page.keyboard.press("Enter")
            expect(page.locator("#notice")).to_contain_text("needs a key with the right `use`")
            page.get_by_label("Key").fill(KEYS["use"])
            page.keyboard.press("Enter")
            assert len(items(page)) == 100
            expect(page.locator("#unlock")).to_be_hidden()
            search(page, "the")
            page.keyboard.press("Escape")
            page.get_by_text("Export").click()
            page.get_by_role("button", name="Copy as curl").click()
            line = page.locator("#command").input_value()
            assert KEYS["use"] not in line
            assert KEYS["use"] not in page.url + str(page.context.cookies()) + page.content()
            answer = json.loads(subprocess.check_output(line, shell=True, env={**os.environ, "SEGUE_KEY": KEYS["use"]}))
            assert [track["name"] for track in answer["tracks"]] == items(page)
            page.reload()
            assert len(items(page)) == 100
            with tab(page.context, service) as another:
                expect(another.locator("#notice")).to_have_text("This service needs a key.")
            page.get_by_role("button", name="Forget the key").click()
            expect(page.locator("#notice")).to_have_text("This service needs a key.")
        with visit(browser, service) as page:
            expect(page.locator("#notice")).to_have_text("This service needs a key.")


# Everybody, everywhere


def violations(page: Page) -> list[str]:
    found = Axe().run(page).response["violations"]
    return [f"{each['id']}: {each['nodes'][0]['html']}: {each['nodes'][0]['failureSummary']}" for each in found]


def open_all(page: Page) -> None:
    """Show everything that the page can show at once."""
    press(row(page, 0), "add")
    settle(page)
    press(row(page, 2), "dislike")
    page.get_by_label("Title").fill("late night xqzw")
    for text in ("Paste a list", "Tune"):
        page.get_by_text(text, exact=True).click()
    page.locator("#lines").fill("Nobody - Nothing")
    page.get_by_role("button", name="Add all").click()
    settle(page)
    press(row(page, 1), "why")
    expect(page.locator(".panel .shares")).to_be_visible()


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("viewport", [DESKTOP, PHONE, {"width": 320, "height": 600}], ids=["desktop", "phone", "small"])
def test_the_page_is_accessible_and_fits(viewport: Any, scheme: Any, browser: Browser, service: httpx.Client):
    with visit(browser, service, "#k=20", viewport=viewport, color_scheme=scheme, reduced_motion="reduce") as page:
        check_fit(page)
        open_all(page)
        check_fit(page)
        press(row(page, 1), "similar")
        expect(page.locator(".panel li")).to_have_count(10)
        check_fit(page)
        page.get_by_text("Export").click()
        check_fit(page)
        page.get_by_role("button", name="Copy as curl").click()
        check_fit(page)
        search(page, "the")
        page.keyboard.press("ArrowDown")
        check_fit(page)
        page.keyboard.press("Escape")
        page.get_by_label("Number").fill("501")
        expect(page.locator("#notice")).not_to_be_empty()
        check_fit(page)


OUTSIDE = """[...document.querySelectorAll("body *:not(.unseen, .unseen *)")].filter((element) => {
  const { left, right } = element.getBoundingClientRect();
  return element.checkVisibility() && (left < 0 || right > innerWidth);
}).map((element) => element.outerHTML.slice(0, 200))"""


def check_fit(page: Page) -> None:
    settle(page)
    assert violations(page) == []
    assert page.evaluate(OUTSIDE) == []
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")


def test_dark_and_light_are_those_of_the_system(browser: Browser, service: httpx.Client):
    colours = []
    for scheme in ("light", "dark"):
        with visit(browser, service, color_scheme=scheme) as page:
            colours.append(page.evaluate("getComputedStyle(document.body).backgroundColor"))

    assert colours == ["rgb(246, 247, 249)", "rgb(17, 20, 24)"]


def test_every_control_is_reached_with_the_tabulator(page: Page):
    page.get_by_label("Number").fill("2")
    settle(page)
    reached = set()
    for _ in range(40):
        page.keyboard.press("Tab")
        reached.add(page.evaluate("document.activeElement.id || document.activeElement.textContent.trim()"))

    assert {"search", "title", "Export", "Tune", "docs"} <= reached
    name = items(page)[0]
    assert {f"+ Add {name}", f"Similar to {name}", f"Why? {name}", f"Dislike {name}"} <= reached
