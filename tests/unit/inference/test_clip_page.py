"""The page in a browser: video and timelines move together. Skipped where there is no Chromium."""

import importlib.util
import time
from pathlib import Path

import pytest
from helpers.pictures import render, table

from affectkit.inference import write_clip_report

TOOL = Path(__file__).parents[3] / "tools" / "chromium.py"
spec = importlib.util.spec_from_file_location("chromium", TOOL)
chromium = importlib.util.module_from_spec(spec)
spec.loader.exec_module(chromium)

pytestmark = pytest.mark.skipif(chromium.find() is None, reason="no Chromium: `apt-get install chromium`")


@pytest.fixture(scope="module")
def browser():
    with chromium.Chromium() as opened:
        yield opened


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    folder = tmp_path_factory.mktemp("page")
    video = render(folder / "two.mp4", 25, faces=2, size=48)
    data = table(25, faces=2, size=48, failed=range(20, 23))
    data = data.rename(columns={"surprise": "<img src=x onerror=document.title='hacked'>"})
    data.attrs["affectkit"]["heads"]["expression"]["columns"][2] = (
        "<img src=x onerror=document.title='hacked'>"
    )
    return write_clip_report(data, folder / "page.html", video=video).path


def status(browser):
    return browser.run("document.getElementById('status').textContent")


def seen(browser):
    """The frame that the video shows."""
    browser.wait("!document.getElementById('video').seeking")
    return int(25 * browser.run("document.getElementById('video').currentTime"))


def load(browser, page, **kwargs):
    browser.open(page, **kwargs)
    browser.wait("document.getElementById('video').readyState >= 2")


def until(browser, text):
    for _ in range(200):
        if text in status(browser):
            return
        time.sleep(0.02)
    assert text in status(browser)


def test_a_click_on_the_timeline_shows_the_frame(browser, page):
    load(browser, page)
    left, top, width, height = browser.run(
        "(() => { const b = document.querySelector('.strip').getBoundingClientRect();"
        " return [b.left, b.top, b.width, b.height]; })()"
    )
    for part, frame in ((0.61, 15), (0.85, 21)):
        for kind, buttons in (("mousePressed", 1), ("mouseReleased", 0)):
            browser.mouse(kind, left + part * width, top + height / 2, buttons)
        assert status(browser).startswith(f"Frame {frame} ")
        assert seen(browser) == frame
    assert "no face" in status(browser)
    browser.mouse("mouseMoved", left + 0.41 * width, top + height / 2)  # the video stands still
    until(browser, "Frame 10 ")
    assert seen(browser) == 10
    assert browser.run("document.querySelector('.face').style.getPropertyValue('--at')") == "42.000%"


def test_values_are_those_of_the_frame(browser, page):
    load(browser, page)
    browser.run(
        "(() => { const s = document.getElementById('frame'); s.value = 7; s.dispatchEvent(new Event('input')); })()"
    )
    row = table(25, faces=2).query("frame == 7 and face == 0").iloc[0]
    shown = browser.run(
        "[...document.querySelectorAll('[data-face=\"0\"] output')].map((o) => o.textContent)"
    )
    names = ["AU01", "AU02", "AU06", "AU12", "AU25", "AU12_i", "neutral", "happiness", "surprise"]
    assert shown == [f"{row[name]:.1f}" if name == "AU12_i" else f"{row[name]:.2f}" for name in names]
    active = browser.run(
        "[...document.querySelectorAll('[data-face=\"0\"] .active b')].map((b) => b.textContent)"
    )
    assert active == ["AU6", "AU12"]
    assert browser.run("document.querySelectorAll('#boxes rect').length") == 2
    browser.run("document.querySelector('[name=face][value=\"1\"]').click()")
    assert browser.run("document.querySelector('[data-face=\"0\"]').hidden")
    other = table(25, faces=2).query("frame == 7 and face == 1").iloc[0]
    text = browser.run('document.querySelector(\'[data-face="1"] [data-signal="3"] output\').textContent')
    assert text == f"{other['AU12']:.2f}"


def test_the_line_moves_with_the_video(browser, page):
    load(browser, page)
    browser.run("document.getElementById('video').play()")
    browser.wait("document.getElementById('video').ended")
    until(browser, "Frame 24 ")
    assert browser.run("document.getElementById('frame').value") == "24"


def test_controls_do_not_hide_mouths(browser, page):
    load(browser, page)
    left, top, width, height = browser.run(
        "(() => { const b = document.getElementById('video').getBoundingClientRect();"
        " return [b.left, b.top, b.width, b.height]; })()"
    )
    shown = "document.getElementById('video').controls"
    for inside in (False, True, False):
        browser.mouse("mouseMoved", left + width / 2, top + (height / 2 if inside else height + 60))
        browser.wait(f"{shown} === {str(inside).lower()}")
    browser.run("document.getElementById('play').click()")
    browser.wait("document.getElementById('play').textContent === 'Pause'")
    browser.wait("document.getElementById('video').ended")
    browser.wait("document.getElementById('play').textContent === 'Play'")


def test_keys_and_peaks(browser, page):
    load(browser, page)
    browser.run("document.getElementById('frame').focus()")
    browser.key("ArrowRight", 39)
    browser.key("ArrowRight", 39)
    until(browser, "Frame 2 ")
    assert seen(browser) == 2
    assert "Frame 2 · 0.08 s" in browser.run(
        "document.getElementById('frame').getAttribute('aria-valuetext')"
    )
    browser.run("document.querySelectorAll('[data-goto]')[3].click()")
    until(browser, "Frame 7 ")  # where the smile is largest
    assert seen(browser) == 7


def test_light_dark_and_phone(browser, page, tmp_path):
    color = "getComputedStyle(document.body).backgroundColor"
    load(browser, page, dark=True)
    dark = browser.run(color)
    browser.run("document.getElementById('theme').click()")
    light = browser.run(color)
    assert (dark, light) == ("rgb(18, 22, 28)", "rgb(246, 247, 249)")
    load(browser, page, width=390, height=844)
    assert browser.run(color) == light
    assert browser.run("document.documentElement.scrollWidth") == 390
    browser.screenshot(tmp_path / "phone.png")
    assert (tmp_path / "phone.png").read_bytes().startswith(b"\x89PNG")


def test_nothing_is_fetched_and_nothing_runs_but_our_own(browser, page):
    load(browser, page)
    assert browser.requests == [page.as_uri()]
    assert browser.faults == []
    assert browser.run("document.title") == "two.mp4"
    assert browser.run("document.querySelectorAll('img').length") == 0
    browser.run("document.body.insertAdjacentHTML('beforeend', '<img src=x onerror=\"document.title=1\">')")
    time.sleep(0.2)
    assert browser.run("document.title") == "two.mp4"  # even what comes in is refused
