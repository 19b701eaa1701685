"""Report in Chromium: it renders without console errors, players play, marks open their interventions."""

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

from monitoring.journal.journal_state import JournalState
from monitoring.language import LANGUAGES
from monitoring.language.base import Language
from monitoring.report.plots import attention_thumbnail, save_png
from monitoring.report.report import comparison_page, write_report
from monitoring.report.svg_curves import WIDTH
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
    """Report of a run with samples and an intervention, in a window of a phone's size."""
    run = sick_run(tmp_path / "run")
    fields = run.write_samples(80)
    for sample in fields["samples"]:
        for file in (sample["file"], sample["recorded"]):
            path = run.path / f"{file}.wav"
            path.parent.mkdir(parents=True, exist_ok=True)
            tone = 8000 * np.sin(np.arange(11_025) / 10)
            write_pcm(path, list(tone.astype(int)), rate=22_050)
        save_png(attention_thumbnail(np.eye(9)), run.path / f"{sample['file']}.attention.png")
    run.evaluation(80, 0.8, **fields)
    browser.get(write_report(run.path, JournalState.load(run.path), LANGUAGES["en"]).as_uri())
    return browser


def console_errors(browser: webdriver.Chrome) -> list[str]:
    return [entry["message"] for entry in browser.get_log("browser")]


def property_of(element: WebElement, name: str) -> Any:
    return element.get_property(name)


def test_the_report_renders_on_a_phone(page: webdriver.Chrome) -> None:
    assert console_errors(page) == []
    assert page.find_element(By.CLASS_NAME, "verdict").is_displayed()
    assert len(page.find_elements(By.CSS_SELECTOR, "svg polyline")) == 2 + 4 + 1 + 1
    width = page.execute_script("return document.documentElement.scrollWidth")
    assert width <= page.execute_script("return window.innerWidth")


@pytest.mark.parametrize("language", LANGUAGES.values(), ids=LANGUAGES)
def test_legends_fit_into_their_charts(tmp_path: Path, browser: webdriver.Chrome, language: Language) -> None:
    run = sick_run(tmp_path / "run")
    browser.get(write_report(run.path, JournalState.load(run.path), language).as_uri())
    legends = browser.find_elements(By.CSS_SELECTOR, "svg .legend")
    ends = [browser.execute_script("const b = arguments[0].getBBox(); return b.x + b.width", text) for text in legends]
    assert len(ends) == 4 and max(ends) <= WIDTH


def test_players_play(page: webdriver.Chrome) -> None:
    players = page.find_elements(By.TAG_NAME, "audio")
    assert len(players) == 4
    for player in players:
        page.execute_script("arguments[0].play()", player)
        WebDriverWait(player, 10).until(lambda player: property_of(player, "currentTime") > 0.05)
        assert property_of(player, "duration") == pytest.approx(0.5, abs=0.1)
    assert console_errors(page) == []


def test_pictures_are_shown(page: webdriver.Chrome) -> None:
    for picture in page.find_elements(By.TAG_NAME, "img"):
        assert picture.get_property("naturalWidth") == 9


def test_a_mark_opens_its_intervention(page: webdriver.Chrome) -> None:
    details = page.find_element(By.ID, "act-1")
    assert details.get_attribute("open") is None
    mark = page.find_element(By.CSS_SELECTOR, "a.mark text")
    page.execute_script("arguments[0].scrollIntoView({block: 'center'})", mark)
    mark.click()
    assert details.get_attribute("open") == "true"
    assert "lower the learning rate" in details.text and "Result: helped" in details.text


def test_a_link_to_an_intervention_opens_it(page: webdriver.Chrome) -> None:
    page.get(f"{page.current_url.split('#')[0]}#act-1")
    page.refresh()
    assert page.find_element(By.ID, "act-1").get_attribute("open") == "true"


def test_a_comparison_renders(tmp_path: Path, browser: webdriver.Chrome) -> None:
    runs = [sick_run(tmp_path / name).path for name in ("one", "two")]
    path = tmp_path / "both.html"
    path.write_text(comparison_page([JournalState.load(run) for run in runs], LANGUAGES["ru"]), encoding="utf-8")
    browser.get(path.as_uri())
    assert console_errors(browser) == []
    assert len(browser.find_elements(By.TAG_NAME, "polyline")) == 6


def test_hostile_data_is_not_executed(tmp_path: Path, browser: webdriver.Chrome) -> None:
    hostile = (
        "</script><script>document.title = 'broken into'</script><img src=x onerror=\"document.title='broken into'\">"
    )
    run = RunFolder(tmp_path / "run")
    run.start(data=hostile)
    run.finish(0, "failed", hostile)
    browser.get(write_report(run.path, JournalState.load(run.path), LANGUAGES["en"]).as_uri())
    assert browser.title == "Report: run"
    assert hostile in browser.find_element(By.TAG_NAME, "body").text
    assert console_errors(browser) == []
