"""The report page in the system's Chromium, without a display.

Skipped where there is no Chromium (Debian: ``apt-get install chromium``).
"""

import shutil

import pytest
from report_makers import (
    attack,
    detector,
    make_pairs,
    results,
    robust_results,
    write_results,
)

from perception.visualization.report.page import write_report

sync_api = pytest.importorskip(
    "playwright.sync_api",
    reason="playwright is not installed (pip install .[dev]): page not opened",
)
NAMES = ("chromium", "chromium-browser", "google-chrome")
PROGRAM = next(filter(None, map(shutil.which, NAMES)), None)
pytestmark = pytest.mark.skipif(
    PROGRAM is None,
    reason="no Chromium (apt-get install chromium): the report page is not opened",
)
EVIL = "<img src=x onerror=alert(1)>"


@pytest.fixture(scope="module")
def tab():
    """One tab for all tests: each new one would cost a process."""
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=PROGRAM, args=["--disable-gpu"]
        )
        yield browser.new_page()
        browser.close()


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    """The report of two detectors, with two attacks' pictures and an evil name."""
    folder = tmp_path_factory.mktemp("report")
    content = robust_results(attack(EVIL, "camera", 50.0))
    write_results(folder / "robustness.json", content)
    make_pairs(folder / "a", 2)
    make_pairs(folder / "b", 1, attack="lidar_pgd")
    out = folder / "report.html"
    galleries = [folder / "a", folder / "b"]
    write_report([folder / "robustness.json"], out, gallery=galleries)
    return out


@pytest.fixture
def open_page(tab, file):
    """Opens the page; complaints and requests are collected, and must stay empty."""
    complaints, requests, opened = [], [], {"about:blank"}
    listeners = {
        "console": lambda message: complaints.append(message.text),
        "pageerror": lambda error: complaints.append(str(error)),
        "dialog": lambda dialog: complaints.append(dialog.message),
        "request": lambda request: requests.append(request.url),
    }
    for event, listener in listeners.items():
        tab.on(event, listener)

    def open_it(width=1280, scheme="light", of=file):
        tab.set_viewport_size({"width": width, "height": 800})
        tab.emulate_media(media="screen", color_scheme=scheme)
        tab.goto("about:blank")  # forgets where the page was scrolled to
        tab.goto(of.as_uri())
        opened.add(of.as_uri())
        return tab

    yield open_it
    for event, listener in listeners.items():
        tab.remove_listener(event, listener)
    assert complaints == []
    assert {url for url in requests if not url.startswith("data:")} <= opened


def test_table_sorts_by_click_and_by_keyboard(open_page):
    page = open_page()
    table = page.locator("#attacks table")
    column = table.locator("thead th").nth(2)
    cells = table.locator("tbody td:nth-child(3) .value")
    column.get_by_role("button").click()
    assert column.get_attribute("aria-sort") == "descending"
    figures = [float(text) for text in cells.all_inner_texts()]
    assert len(figures) > 3 and figures == sorted(figures, reverse=True)
    page.keyboard.press("Enter")  # the button has the focus
    assert column.get_attribute("aria-sort") == "ascending"
    assert [float(text) for text in cells.all_inner_texts()] == sorted(figures)
    # Sorting by another column, which some detectors have no figure for.
    other = table.locator("thead th").nth(3)
    other.get_by_role("button").click()
    assert column.get_attribute("aria-sort") is None
    assert table.locator("tbody tr").last.locator("td").last.inner_text() == "–"


def test_slider_moves_by_keyboard_and_by_pointer(open_page):
    page = open_page()
    figure = page.locator("figure.pair").first
    slider, stage = figure.get_by_role("slider"), figure.locator(".stage")
    split = "element => element.style.getPropertyValue('--split')"
    assert stage.evaluate(split) == "50%"
    slider.focus()
    page.keyboard.press("ArrowRight")
    assert stage.evaluate(split) == "51%"
    page.keyboard.press("Home")
    assert stage.evaluate(split) == "0%"
    stage.scroll_into_view_if_needed()
    box = stage.bounding_box()
    page.mouse.move(box["x"] + 1, box["y"] + box["height"] / 2)
    page.mouse.down()
    page.mouse.move(box["x"] + 0.75 * box["width"], box["y"] + 2)
    page.mouse.up()
    assert stage.evaluate(split) == "75%" and slider.input_value() == "75"
    clip = "element => getComputedStyle(element).clipPath"
    assert "25%" in stage.locator("img.clean").evaluate(clip)


def test_pictures_of_one_attack(open_page):
    page = open_page()
    page.locator("#filter").select_option("lidar_pgd")
    assert page.locator("figure.pair:visible").count() == 1
    assert page.locator("#shown").inner_text() == "1 frame"
    loaded = "image => image.decode().then(() => image.naturalWidth)"
    assert page.locator("figure.pair:visible img.clean").evaluate(loaded) == 64
    assert all(
        image.get_attribute("alt").startswith("Frame ")
        for image in page.locator("figure.pair img").all()
    )


def test_desk_shows_every_column_and_picture_without_scrolling(open_page, tmp_path):
    detectors = [
        detector(
            attack("camera_pgd_quiet", "camera", 62.0, gate=(8, 1, 1)),
            attack("lidar_adaptive_rank", "lidar", 5.0, gate=(2, 5, 3)),
            name=f"synthetic_odd_one_out_robust_full_size_{number}",
            checkpoint_sha256=f"{number}" * 64,
        )
        for number in range(6)
    ]
    write_results(tmp_path / "six.json", results(*detectors))
    pictures = make_pairs(tmp_path / "many", 12, size=(640, 400))
    write_report([tmp_path / "six.json"], tmp_path / "six.html", gallery=[pictures])
    page = open_page(of=tmp_path / "six.html")
    cut = "frames => frames.filter(one => one.scrollWidth > one.clientWidth).length"
    assert page.locator(".scroll").evaluate_all(cut) == 0
    seen = "images => images.every(one => one.complete && one.naturalWidth === 640)"
    page.wait_for_function(f"({seen})([...document.images])")
    assert page.locator("figure.pair img").count() == 24


def test_link_opens_the_threat_model(open_page):
    page = open_page()
    page.locator("#attacks tbody a").first.click()
    page.locator("#threat-1 dl").wait_for(state="visible")


@pytest.mark.parametrize("width", [320, 390])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_phone_scrolls_in_tables_only(open_page, width, scheme):
    page = open_page(width, scheme)
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    paper = page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert (paper == "rgb(255, 255, 255)") == (scheme == "light")


def test_paper_shows_both_pictures_and_every_threat_model(open_page):
    page = open_page()
    page.emulate_media(media="print")
    page.evaluate("window.dispatchEvent(new Event('beforeprint'))")
    assert page.locator("details:not([open])").count() == 0
    first = page.locator("figure.pair").first
    clean, attacked = (first.locator(f"img.{side}") for side in ("clean", "attacked"))
    assert clean.bounding_box()["y"] != attacked.bounding_box()["y"]
    page.evaluate("window.dispatchEvent(new Event('afterprint'))")
    assert page.locator("details[open]").count() == 0
