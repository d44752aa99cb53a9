"""The page with everything, driven in headless Chromium: it asks for nothing and obeys hand, keys and finger."""

from __future__ import annotations

import base64
import io
import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from mamo.reporting.claims import judge
from mamo.reporting.collect import collect
from mamo.reporting.pages import CLAIMS, INDEX, pages_of
from mamo.reporting.site.build import write_site
from mamo.specs.plan import Plan, make_plan

ROOT = Path(__file__).resolve().parents[1]
ABLATIONS = ROOT / "ablations"
HOSTILE = '</script><img src=x onerror="window.hacked=1"><b>cat</b> & "dog"'


def write_records(plan: Plan, results: Path) -> None:
    """A record for every run of the plan, each with its own numbers, and a curve for the trained ones."""
    for number, run in enumerate(plan.runs.values()):
        path = run.record(results)
        path.parent.mkdir(parents=True)
        metrics = {f"{split}_accuracy": 30.0 + number for split in ("val", "testA", "testB")}
        metrics |= {f"chance/{name}": 20.0 for name in list(metrics)}
        for what in ("object", "colour"):
            metrics |= {f"{what}_share": 10.0 + number, f"{what}_pointing": 20.0 + number}
        record = {
            "outcome": {"status": "converged", "reason": None},
            "metrics": metrics,
            "details": {"steps": 10 * number, "pairs_per_second": 100.0 + number},
            "provenance": {"wall_seconds": 5.0 + number, "cpu_seconds": 200.0, "peak_memory_mb": 500, "code": "abc123",
                           "machine": {"cpu": HOSTILE}, "versions": {"torch": "2"}},
        }  # fmt: skip
        if run.kind == "pretrain":  # the others are older than the checks
            record["checks"] = [
                {"check": "losses", "passed": True, "says": "there", "numbers": {}},
                {"check": "target", "passed": False, "says": f"it has not moved {HOSTILE}", "numbers": {}},
            ]
        path.write_text(json.dumps(record))
        if run.kind == "pretrain":
            path.with_name("curve.csv").write_text(
                "step,loss,itc\n" + "".join(f"{s},{9 - s / 10},nan\n" for s in range(90))
            )


def maps() -> dict[str, Any]:
    """Two images. Of the first one's words, 'red' is hot at the upper left for the baseline, at the lower right for MAMO."""
    buffer = io.BytesIO()
    Image.new("RGB", (64, 64), (120, 120, 120)).save(buffer, "JPEG")
    url = f"data:image/jpeg;base64,{base64.b64encode(buffer.getvalue()).decode()}"

    def hot(patch: int) -> list[float]:
        return [1e-6 * (i == patch) for i in range(16)]

    def own(red: int, cat: int) -> dict[str, Any]:
        fits = [{"share": 0.75, "hit": red == 15}]
        return {"maps": [hot(red), hot(cat), [0.0] * 16], "matched": 0.8, "fits": fits}

    def example(words: list[str], red: int) -> dict[str, Any]:
        return {
            "image": "a.jpg", "picture": url, "width": 64, "height": 64, "text": " ".join(words), "words": words,
            "named": [{"words": [0], "what": "object", "box": [0.75, 0.75, 1.0, 1.0]}],
            "models": {"albef_style": own(0, 3), "mamo": own(red, 12)},
        }  # fmt: skip

    models = [
        {"key": key, "label": label, "run": f"pretrain/{key}", "outcome": "converged"}
        for key, label in (("albef_style", "ALBEF-style"), ("mamo", "MAMO"))
    ]
    return {
        "figure": "explorer", "scale": "smoke", "method": "words", "title": "t", "caption": "c", "layer": 1, "grid": 4,
        "models": models, "examples": [example(["red", HOSTILE, "."], 15), example(["blue", "dog", "!"], 5)],
    }  # fmt: skip


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("site")
    plan = make_plan("smoke", ABLATIONS, only=["table4", "localisation", "figure1", "explorer"])
    results, reports = folder / "results", folder / "reports"
    write_records(plan, results)
    values = {name: collect(plan, table, results) for name, table in plan.tables.items()}
    values[CLAIMS] = judge(plan, results, ABLATIONS)
    reports.mkdir()
    Image.new("RGB", (300, 200), "teal").save(reports / "figure1.png")
    page = pages_of(plan, ABLATIONS)[INDEX]
    written = write_site(plan, values, {"explorer": maps()}, page, results, reports, ABLATIONS, ROOT / "docs")
    assert not page.stale(reports)
    return written


def test_the_page_is_one_file_that_names_no_other_host(site: Path) -> None:
    text = site.read_text(encoding="utf-8")
    assert "default-src 'none'" in text
    for attribute in ('src="http', 'href="http', "url(http", "@import", "<link"):
        assert attribute not in text.partition('id="deviations"')[0]
    assert HOSTILE not in text and "<b>cat</b>" not in text
    assert len(text) < 1_000_000
    for said in ("61.9", "Runs", "MAMO w/o mask", "p = ", "abc123", "jobs.grounding", "Grad-CAM of ITM"):
        assert said in text


def chrome() -> Any:
    """Chromium with a driver, or the test is skipped."""
    webdriver = pytest.importorskip("selenium.webdriver", reason="selenium is not installed")
    from selenium.webdriver.chrome.service import Service

    browser = shutil.which("chromium") or shutil.which("google-chrome")
    driver = shutil.which("chromedriver")
    if not (browser and driver):
        pytest.skip("needs chromium and chromedriver (Debian: apt-get install chromium chromium-driver)")
    options = webdriver.ChromeOptions()
    options.binary_location = browser
    for argument in (
        "--headless=new",
        "--no-sandbox",
        "--disable-dev-shm-usage",
        "--disable-gpu",
        "--hide-scrollbars",
    ):
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    return webdriver.Chrome(options=options, service=Service(driver))


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    driver = chrome()
    yield driver
    driver.quit()


@pytest.fixture
def page(browser: Any, site: Path) -> Any:
    """The page anew, in a window of 1280 x 900, light."""
    size(browser, 1280, 900)
    browser.execute_cdp_cmd(
        "Emulation.setEmulatedMedia", {"features": [{"name": "prefers-color-scheme", "value": "light"}]}
    )
    browser.get(site.as_uri())
    browser.execute_script("document.documentElement.style.scrollBehavior = 'auto'")
    wait(browser, "return document.querySelector('.views canvas').width > 300")
    return browser


def size(browser: Any, width: int, height: int, touch: bool = False) -> None:
    metrics = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": touch}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
    browser.execute_cdp_cmd("Emulation.setTouchEmulationEnabled", {"enabled": touch, "maxTouchPoints": 1})


def wait(browser: Any, script: str) -> None:
    until(browser, lambda driver: driver.execute_script(script))


def until(browser: Any, met: Callable[[Any], Any]) -> None:
    from selenium.webdriver.support.ui import WebDriverWait

    WebDriverWait(browser, 10).until(met)


def hottest(browser: Any, model: int) -> tuple[int, int]:
    """Row and column (of 4 x 4) of the lightest patch of a model's canvas."""
    found = browser.execute_script(
        """
        const canvas = document.querySelectorAll('.views canvas')[arguments[0]], n = 4, side = canvas.width / n;
        const data = canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height).data;
        let best = [-1, 0];
        for (let i = 0; i < n * n; i++) {
          const x = Math.floor((i % n + 0.5) * side), y = Math.floor((Math.floor(i / n) + 0.5) * side);
          const p = 4 * (y * canvas.width + x);
          const light = data[p] + data[p + 1] + data[p + 2];
          if (light > best[0]) best = [light, i];
        }
        return best[1];
        """,
        model,
    )  # fmt: skip
    return divmod(int(found), 4)


def shown(browser: Any) -> str:
    return str(browser.execute_script("return document.querySelector('.sentence .shown').textContent"))


def said(browser: Any) -> str:
    return str(browser.execute_script("return document.querySelector('.said').textContent"))


def words(browser: Any) -> list[Any]:
    from selenium.webdriver.common.by import By

    return list(browser.find_elements(By.CSS_SELECTOR, ".sentence button"))


def test_it_asks_for_nothing_and_reports_no_error(page: Any) -> None:
    asked = page.execute_script("return performance.getEntriesByType('resource').map((entry) => entry.name)")
    assert [name for name in asked if not name.startswith("data:")] == []
    assert [entry for entry in page.get_log("browser") if entry["level"] in ("SEVERE", "WARNING")] == []
    assert page.execute_script("return window.hacked") is None
    assert page.execute_script("return document.querySelectorAll('.sentence b, .thumbs b').length") == 0
    assert HOSTILE in page.execute_script("return document.querySelector('.sentence').textContent")


def test_hovering_shows_a_word_and_leaving_shows_the_kept_one(page: Any) -> None:
    from selenium.webdriver import ActionChains

    assert shown(page) == "red" and (hottest(page, 0), hottest(page, 1)) == ((0, 0), (3, 3))
    assert "ALBEF-style: 75 % of the heat in the box; hottest point outside" in said(page)
    assert "MAMO: 75 % of the heat in the box; hottest point inside" in said(page)
    ActionChains(page).move_to_element(words(page)[1]).perform()
    assert shown(page) == HOSTILE and (hottest(page, 0), hottest(page, 1)) == ((0, 3), (3, 0))
    ActionChains(page).move_to_element(page.find_element("tag name", "h1")).perform()
    assert shown(page) == "red"
    ActionChains(page).move_to_element(words(page)[1]).click().move_to_element(
        page.find_element("tag name", "h1")
    ).perform()
    assert shown(page) == HOSTILE and hottest(page, 1) == (3, 0), "a click keeps a word"


def test_keys_walk_through_words_and_images(page: Any) -> None:
    from selenium.webdriver.common.keys import Keys

    first = words(page)[0]
    first.send_keys(Keys.ARROW_RIGHT)
    assert shown(page) == HOSTILE and hottest(page, 1) == (3, 0)
    page.switch_to.active_element.send_keys(Keys.ARROW_RIGHT)
    assert shown(page) == "red", "after the last word comes the first"
    page.switch_to.active_element.send_keys(Keys.END + Keys.ENTER)
    page.execute_script("document.activeElement.blur()")
    assert shown(page) == HOSTILE, "Enter keeps a word"
    tabbed = page.execute_script(
        "return [...document.querySelectorAll('.sentence button')].filter((b) => b.tabIndex === 0).length"
    )
    assert tabbed == 1, "the words are one stop on the way of the Tab key"
    thumb = page.find_elements("css selector", ".thumbs button")[0]
    thumb.send_keys(Keys.ARROW_RIGHT)
    wait(page, "return document.querySelector('.sentence .shown').textContent === 'blue'")
    until(page, lambda driver: hottest(driver, 1) == (1, 1))


def test_a_touch_keeps_a_word_on_a_telephone(page: Any) -> None:
    size(page, 390, 844, touch=True)
    wait(page, "return innerWidth === 390")
    assert page.execute_script("return document.documentElement.scrollWidth") <= 390, "nothing sticks out"
    word = words(page)[1]
    page.execute_script("arguments[0].scrollIntoView({block: 'center'})", word)
    box = page.execute_script(
        "const b = arguments[0].getBoundingClientRect(); return [b.x + 20, b.y + 10, b.height]", word
    )
    assert box[2] >= 40, "wide enough for a finger"
    for kind, points in (("touchStart", [{"x": box[0], "y": box[1]}]), ("touchEnd", [])):
        page.execute_cdp_cmd("Input.dispatchTouchEvent", {"type": kind, "touchPoints": points})
    wait(page, f"return document.querySelector('.sentence .kept').textContent === {json.dumps(HOSTILE)}")
    assert hottest(page, 1) == (3, 0)


def test_light_and_dark(page: Any) -> None:
    def ground() -> int:
        colour = page.execute_script("return getComputedStyle(document.body).backgroundColor")
        return sum(map(int, colour.strip("rgb()").split(",")))

    assert ground() > 700
    page.execute_cdp_cmd(
        "Emulation.setEmulatedMedia", {"features": [{"name": "prefers-color-scheme", "value": "dark"}]}
    )
    assert ground() < 120
    page.find_element("id", "theme").click()
    assert ground() > 700


def test_a_value_leads_to_its_run_and_the_run_to_its_inputs(page: Any) -> None:
    from selenium.webdriver.common.keys import Keys

    def text() -> str:
        return str(page.execute_script("return document.getElementById('dialog').innerText"))

    value = page.find_element("css selector", "#table4 .value")
    page.execute_script("arguments[0].scrollIntoView({block: 'center'})", value)
    value.click()
    assert "val_accuracy" in text() and "finetune/grounding-mamo-" in text()
    page.find_element("css selector", "#dialog .run").click()
    assert (
        "abc123" in text()
        and "mamo finetune --scale smoke --needs grounding-mamo-" in text()
        and HOSTILE in text()
    )
    assert "No checks are recorded: the run is older than they are." in text()
    page.find_element("xpath", "//dialog//button[starts-with(text(), 'pretrain/')]").click()
    assert page.find_element("id", "dialog-title").text.startswith("pretrain/mamo-")
    assert "Checks: 1 of 2 warn" in text() and "target: warning" in text()
    assert f"it has not moved {HOSTILE}" in text(), "open, and as text"
    page.switch_to.active_element.send_keys(Keys.ESCAPE)
    assert not page.execute_script("return document.getElementById('dialog').open")


def test_runs_are_sorted_curves_drawn_and_claims_hidden(page: Any) -> None:
    def sort(label: str) -> list[float]:
        page.find_element("xpath", f"//table[contains(@class, 'sortable')]//button[text()='{label}']").click()
        script = "return [...document.querySelectorAll('.sortable tbody td:nth-child(4)')].map((c) => Number(c.dataset.sort))"
        return list(page.execute_script(script))

    page.execute_script("document.getElementById('runs').scrollIntoView()")
    rising = sort("Wall clock")
    assert rising == sorted(rising) and len(set(rising)) > 5
    assert sort("Wall clock") == rising[::-1]
    lines = page.execute_script(
        "return [...document.querySelectorAll('.curves path')].map((path) => path.getAttribute('d').split('L').length)"
    )
    assert lines == [60, 60], "two runs' loss; a part that was never finite has no line"
    boxes = page.find_elements("css selector", "input[data-verdict]")
    page.execute_script("arguments[0].scrollIntoView({block: 'center'})", boxes[0])
    for box in boxes:
        box.click()
    visible = page.execute_script(
        "return [...document.querySelectorAll('.claims > li')].filter((li) => li.offsetParent).length"
    )
    assert visible == 0 and len(page.find_elements("css selector", ".claims > li")) > 20


def test_a_figure_is_enlarged(page: Any) -> None:
    zoom = page.find_element("css selector", "#figure1 .zoom")
    page.execute_script("arguments[0].scrollIntoView({block: 'center'})", zoom)
    zoom.click()
    assert page.execute_script("return document.querySelector('#dialog img').naturalWidth") == 300
