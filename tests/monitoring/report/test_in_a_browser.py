"""The report in a real Chromium: it renders without a complaint, the players play, the marks open."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from selenium import webdriver
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.by import By
from selenium.webdriver.remote.webelement import WebElement
from selenium.webdriver.support.wait import WebDriverWait

from monitoring.journal.run_state import JournalState
from monitoring.language.base import words_of
from monitoring.report.plots import attention_thumbnail, save_png
from monitoring.report.report import comparison_page, write_report
from tests.monitoring.journals import RunFolder, sick_run
from tests.monitoring.wave_file import write_pcm

BROWSER, DRIVER = shutil.which("chromium"), shutil.which("chromedriver")
pytestmark = pytest.mark.skipif(not (BROWSER and DRIVER), reason="no Chromium with its driver on this machine")
PHONE = (390, 800)


@pytest.fixture(scope="module")
def browser() -> Iterator[webdriver.Chrome]:
    options = webdriver.ChromeOptions()
    options.binary_location = BROWSER or ""
    for argument in ("--headless=new", "--no-sandbox", "--disable-gpu", "--autoplay-policy=no-user-gesture-required"):
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    driver = webdriver.Chrome(options, Service(DRIVER))
    driver.set_window_size(*PHONE)
    yield driver
    driver.quit()


@pytest.fixture
def page(tmp_path: Path, browser: webdriver.Chrome) -> webdriver.Chrome:
    """A run with sound, pictures and something done, as a phone shows it."""
    run = sick_run(tmp_path / "run")
    told = run.spoken(80)
    for sample in told["samples"]:
        for file in (sample["file"], sample["recorded"]):
            path = run.path / f"{file}.wav"
            path.parent.mkdir(parents=True, exist_ok=True)
            tone = 8000 * np.sin(np.arange(11_025) / 10)
            write_pcm(path, list(tone.astype(int)), rate=22_050)
        save_png(attention_thumbnail(np.eye(9)), run.path / f"{sample['file']}.attention.png")
    run.evaluation(80, 0.8, **told)
    browser.get(write_report(run.path, JournalState.load(run.path), words_of("en")).as_uri())
    return browser


def complaints(browser: webdriver.Chrome) -> list[str]:
    return [entry["message"] for entry in browser.get_log("browser")]


def property_of(element: WebElement, name: str) -> Any:
    return element.get_property(name)


def test_it_renders_without_a_complaint_on_a_phone(page: webdriver.Chrome) -> None:
    assert complaints(page) == []
    assert page.find_element(By.CLASS_NAME, "verdict").is_displayed()
    assert len(page.find_elements(By.CSS_SELECTOR, "svg polyline")) == 2 + 4 + 1 + 1
    width = page.execute_script("return document.documentElement.scrollWidth")
    assert width <= page.execute_script("return window.innerWidth")


def test_the_players_play(page: webdriver.Chrome) -> None:
    players = page.find_elements(By.TAG_NAME, "audio")
    assert len(players) == 4
    for player in players:
        page.execute_script("arguments[0].play()", player)
        WebDriverWait(player, 10).until(lambda player: property_of(player, "currentTime") > 0.05)
        assert property_of(player, "duration") == pytest.approx(0.5, abs=0.1)
    assert complaints(page) == []


def test_the_pictures_show(page: webdriver.Chrome) -> None:
    for picture in page.find_elements(By.TAG_NAME, "img"):
        assert picture.get_property("naturalWidth") == 9


def test_a_mark_opens_its_story(page: webdriver.Chrome) -> None:
    state = page.find_element(By.ID, "act-1")
    assert state.get_attribute("open") is None
    mark = page.find_element(By.CSS_SELECTOR, "a.mark text")
    page.execute_script("arguments[0].scrollIntoView({block: 'center'})", mark)
    mark.click()
    assert state.get_attribute("open") == "true"
    assert "lower the learning rate" in state.text and "Came: it helped" in state.text


def test_a_link_to_a_story_opens_it(page: webdriver.Chrome) -> None:
    page.get(f"{page.current_url.split('#')[0]}#act-1")
    page.refresh()
    assert page.find_element(By.ID, "act-1").get_attribute("open") == "true"


def test_runs_side_by_side_render_too(tmp_path: Path, browser: webdriver.Chrome) -> None:
    runs = [sick_run(tmp_path / name).path for name in ("one", "two")]
    path = tmp_path / "both.html"
    path.write_text(comparison_page([JournalState.load(run) for run in runs], words_of("ru")), encoding="utf-8")
    browser.get(path.as_uri())
    assert complaints(browser) == []
    assert len(browser.find_elements(By.TAG_NAME, "polyline")) == 6


def test_what_the_data_says_is_no_code(tmp_path: Path, browser: webdriver.Chrome) -> None:
    evil = (
        "</script><script>document.title = 'broken into'</script><img src=x onerror=\"document.title='broken into'\">"
    )
    run = RunFolder(tmp_path / "run")
    run.start(data=evil)
    run.finish(0, "failed", evil)
    browser.get(write_report(run.path, JournalState.load(run.path), words_of("en")).as_uri())
    assert browser.title == "Report: run"
    assert evil in browser.find_element(By.TAG_NAME, "body").text
    assert complaints(browser) == []
