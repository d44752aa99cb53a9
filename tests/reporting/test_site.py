"""The page with everything, driven in headless Chromium: it asks for nothing and obeys hand, keys and finger."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from site_records import DRAWING, HOSTILE, maps, write_records

from mamo.reporting.claims import judge
from mamo.reporting.collect import collect
from mamo.reporting.pages import INDEX, pages_of
from mamo.reporting.paper import ARXIV, TITLE
from mamo.reporting.site.build import write_site
from mamo.specs.plan import make_plan

ROOT = Path(__file__).resolve().parents[2]
ABLATIONS = ROOT / "ablations"


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("site")
    plan = make_plan(
        "smoke",
        ABLATIONS,
        only=["table1", "table4", "localisation", "figure1", "figure4", "figure11", "explorer"],
    )
    results, reports = folder / "results", folder / "reports"
    write_records(plan, results)
    values = {name: collect(plan, table, results) for name, table in plan.tables.items()}
    claims = judge(plan, results, ABLATIONS)
    reports.mkdir()
    Image.new("RGB", (300, 200), "teal").save(reports / "figure1.png")
    Image.new("RGB", (900, 200), "teal").save(reports / "figure11.png")
    (reports / "figure4.svg").write_text(DRAWING)
    page = pages_of(plan, ABLATIONS)[INDEX]
    written = write_site(
        plan, values, claims, {"explorer": maps()}, page, results, reports, ABLATIONS, ROOT / "docs"
    )
    assert not page.stale(reports)
    return written


def test_the_page_is_one_file_that_names_no_other_host(site: Path) -> None:
    text = site.read_text(encoding="utf-8")
    assert "default-src 'none'" in text
    shown = text.partition('id="deviations"')[0].replace(f'href="{ARXIV}"', "", 1)  # a link, not a request
    for attribute in ('src="http', 'href="http', "url(http", "@import", "<link"):
        assert attribute not in shown
    assert HOSTILE not in text and "<b>cat</b>" not in text
    assert len(text) < 1_000_000
    assert text.index("<h1>") < text.index(TITLE) < text.index('id="claims"')
    for said in ("61.9", "Runs", "MAMO w/o mask", "p = ", "abc123", "jobs.grounding", "Grad-CAM of ITM"):
        assert said in text


def test_its_links_lead_somewhere(site: Path) -> None:
    from links import broken

    assert list(broken(site, site.read_text(encoding="utf-8"))) == []


def test_drawings_take_the_pages_ink_and_bring_nothing_else(site: Path) -> None:
    text = site.read_text(encoding="utf-8")
    drawing = text[text.index('<figure id="figure4"') :].partition("</figure>")[0]
    assert "<script" not in drawing and "onload" not in drawing and "DejaVu" not in drawing
    assert "stroke: currentColor" in drawing and "stroke: #010101" in drawing, "a box's rim stays dark"
    assert "#ffffff" not in drawing, "the paper is the page's"
    assert "url(#figure4-clip0)" in drawing and 'id="figure4-clip0"' in drawing, (
        "no other drawing has these names"
    )


def test_nothing_is_called_by_its_key(site: Path) -> None:
    shown = site.read_text(encoding="utf-8").partition('id="deviations"')[0]
    visible = re.sub(r"<(script|style|code|svg)\b.*?</\1>", "", shown, flags=re.DOTALL)
    visible = re.sub(r'<td class="changed">.*?</td>', "", visible)  # settings are called by their names
    words = re.sub(r"<[^>]*>", " ", visible)
    assert re.findall(r"\b[a-z0-9]+_[a-z0-9_]+\b", words) == []


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
    """Open the page again, in a window of 1280 x 900, light."""
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
    place = browser.execute_script(
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
    return divmod(int(place), 4)


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


def test_the_first_screen_names_the_paper_and_its_main_results(page: Any) -> None:
    for wide, high, least in ((1400, 900, 6), (400, 800, 1)):
        size(page, wide, high, touch=wide < 600)
        wait(page, f"return innerWidth === {wide}")
        page.execute_script("scrollTo(0, 0)")
        assert page.execute_script(
            "return ['h1', '.kicker a'].every("
            "(name) => document.querySelector(name).getBoundingClientRect().bottom < innerHeight)"
        )
        rows = page.execute_script(
            "return [...document.querySelectorAll('.headline tbody tr')]"
            ".filter((row) => row.getBoundingClientRect().bottom < innerHeight).length"
        )
        whole = len(page.find_elements("css selector", ".headline tbody tr"))
        assert rows >= min(least, whole)
        frame = "const s = document.querySelector('.headline').closest('.scroll'); return s.scrollWidth - s.clientWidth"
        assert page.execute_script(frame) <= 1, "it is whole, without scrolling to the side"


def test_nothing_sticks_out_of_a_telephone_whatever_is_open(page: Any) -> None:
    size(page, 400, 800, touch=True)
    wait(page, "return innerWidth === 400")
    page.execute_script("""
        for (const fold of document.querySelectorAll("details")) fold.open = true;
        for (const box of document.querySelectorAll("[data-all]")) box.click();
    """)
    width = "return document.documentElement.scrollWidth"
    assert page.execute_script(width) <= 400
    assert (
        page.execute_script(
            "return [...document.querySelectorAll('main *')].filter((e) => !e.closest('.scroll, .ledger, svg, .thumbs, .said')"
            " && e.checkVisibility() && e.getBoundingClientRect().right > 401).map((e) => e.outerHTML.slice(0, 80))"
        )
        == []
    )
    for hash_ in (
        "#value=table4/0/0",
        "#run=" + page.find_element("css selector", ".run").get_attribute("data-run"),
    ):
        page.execute_script("location.hash = arguments[0]", hash_)
        wait(page, "return document.getElementById('dialog').open")
        inside = "const d = document.querySelector('.dialog-body'); return d.scrollWidth - d.clientWidth"
        assert page.execute_script(width) <= 400 and page.execute_script(inside) <= 1
        page.find_element("css selector", "#dialog .close").click()


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
    assert "val_accuracy" in text() and "Grounding: Table 4, MAMO" in text()
    page.find_element("css selector", "#dialog .run").click()
    assert (
        "abc123" in text()
        and "mamo finetune --scale smoke --needs grounding-mamo-" in text()
        and HOSTILE in text()
    )
    assert "No checks are recorded: the run is older than the checks." in text()
    page.find_element("xpath", "//dialog//dd//button[starts-with(text(), 'Table 1, MAMO')]").click()
    assert "pretrain/mamo-" in text()
    assert "Checks: 1 of 2 warn" in text() and "target: warning" in text()
    assert f"it has not moved {HOSTILE}" in text(), "open, and as text"
    page.switch_to.active_element.send_keys(Keys.ESCAPE)
    assert not page.execute_script("return document.getElementById('dialog').open")


def test_runs_are_sorted_and_searched(page: Any) -> None:
    def sort(label: str) -> list[float]:
        page.find_element("xpath", f"//table[contains(@class, 'sortable')]//button[text()='{label}']").click()
        script = "return [...document.querySelectorAll('.sortable tbody td:nth-child(4)')].map((c) => Number(c.dataset.sort))"
        return list(page.execute_script(script))

    def visible() -> list[str]:
        script = "return [...document.querySelectorAll('.sortable tbody tr')].filter((r) => !r.hidden).map((r) => r.innerText)"
        return list(page.execute_script(script))

    page.execute_script("document.getElementById('runs').scrollIntoView()")
    rising = sort("Wall clock")
    assert rising == sorted(rising) and len(set(rising)) > 5
    assert sort("Wall clock") == rising[::-1]
    everything = visible()
    page.find_element("id", "find").send_keys("w/o mask grounding")
    actual = visible()
    assert 0 < len(actual) < len(everything) and all("w/o mask" in line for line in actual)
    assert page.find_element("id", "find-count").text == f"{len(actual)} of {len(everything)}"
    page.execute_script(
        "const k = document.getElementById('find-kind'); k.value = 'data'; k.dispatchEvent(new Event('change'))"
    )
    assert visible() == []


def test_two_runs_are_compared_with_a_legend_and_values_under_the_pointer(page: Any) -> None:
    from selenium.webdriver import ActionChains

    lines = page.execute_script(
        "return [...document.querySelectorAll('.curves path')].map((path) => path.getAttribute('d').split('L').length)"
    )
    assert lines == [60, 60], "two runs' loss; a part that was never finite has no panel"
    legend = page.find_element("css selector", ".curve-legend").text
    assert "MAMO" in legend and len(page.find_elements("css selector", ".curve-legend .key")) == 2
    table = page.find_element("css selector", ".compared").text
    assert "Settings that differ" in table and "objectives.mim" in table and "Metrics that both have" in table
    assert " off" in table and "null" not in table and "true" not in table, "settings in words"
    svg = page.find_element("css selector", ".curves svg")
    page.execute_script("arguments[0].scrollIntoView({block: 'center'})", svg)
    ActionChains(page).move_to_element(svg).perform()
    read = page.find_element("css selector", ".curves .read").text
    assert re.match(r"step \d+: [\d.]+\s*[\d.]+$", read), read
    tuned = page.execute_script(
        "const keys = Object.keys(DATA.runs).filter((key) => key.startsWith('finetune/retrieval_flickr30k'));"
        "compareBoth(keys[0], keys[1]); return document.querySelector('.compared').innerText"
    )
    assert "Flickr30K TR R@1" in tuned, "metrics by the names of their columns"
    page.execute_script(
        "const keys = Object.keys(DATA.runs).filter((key) => key.startsWith('pretrain/')); compareBoth(keys[0], keys[1])"
    )
    second = page.execute_script(
        "const s = document.getElementById('compare-second'); s.value = ''; s.dispatchEvent(new Event('change'));"
        "return document.querySelectorAll('.curves path').length"
    )
    assert second == 1


def test_open_claims_are_folded_and_the_columns_that_count_come_first(page: Any) -> None:
    assert len(page.find_elements("css selector", ".claims > li")) > 20
    assert not any(
        entry.is_displayed() for entry in page.find_elements("css selector", ".reason .claims > li")
    )
    assert "gives no verdict" in page.find_element("css selector", ".lead").text
    assert page.find_elements("css selector", ".verdict.supported") == []

    def heads() -> list[str]:
        elements = page.find_elements("css selector", "#table1 thead tr:last-child th")
        return [head.text for head in elements if head.is_displayed()]

    assert heads() == ["TR R@1", "IR R@1"] * 2
    box = page.find_element("css selector", "#table1 [data-all]")
    page.execute_script("arguments[0].scrollIntoView({block: 'center'})", box)
    box.click()
    assert len(heads()) == 12


def test_a_tables_headings_stay_and_a_hint_says_that_it_goes_on(page: Any) -> None:
    size(page, 390, 700, touch=True)
    wait(page, "return innerWidth === 390")
    actual = page.execute_script("""
        const article = document.getElementById("table1");
        article.querySelector("[data-all]").click();
        const scroll = article.querySelector(".scroll"), hint = () => scroll.parentElement.classList.contains("goes-on");
        scroll.scrollLeft = 0;
        dispatchEvent(new Event("resize"));
        const before = hint();
        scroll.scrollLeft = 300;
        const box = scroll.getBoundingClientRect();
        const seen = [...article.querySelectorAll("tr.full th span")].some((span) => {
          const b = span.getBoundingClientRect();
          return span.textContent === "MSCOCO" && b.left >= box.left && b.right <= box.right;
        });
        const row = article.querySelector("tbody th").getBoundingClientRect();
        const stays = Math.abs(row.left - box.left) < 3;
        scroll.scrollLeft = scroll.scrollWidth;
        dispatchEvent(new Event("resize"));
        return [before, seen, stays, hint()];
    """)
    assert actual == [True, True, True, False]


def test_what_is_open_has_an_address(page: Any, site: Path) -> None:
    def title() -> str:
        return str(page.find_element("id", "dialog-title").text)

    value = page.find_element("css selector", "#table4 .value")
    page.execute_script("arguments[0].scrollIntoView({block: 'center'})", value)
    value.click()
    address, shown = page.current_url, title()
    assert "#value=table4/0/0" in address
    page.get("about:blank")
    page.get(address)
    assert title() == shown and "RefCOCO+" not in address
    page.find_element("css selector", "#dialog .run").click()
    assert "#run=finetune/" in page.current_url
    page.find_element("css selector", "#dialog .close").click()
    wait(page, "return location.hash === ''")
    assert "#" not in page.current_url


def test_the_chosen_theme_is_kept(page: Any, site: Path) -> None:
    page.find_element("id", "theme").click()
    chosen = page.execute_script("return document.documentElement.dataset.theme")
    page.get("about:blank")
    page.get(site.as_uri())
    assert chosen == "dark" and page.execute_script("return document.documentElement.dataset.theme") == "dark"
    page.execute_script("localStorage.clear()")


def test_tab_stops_stay_few(page: Any) -> None:
    """Values of a table, runs and images are one stop each; arrows lead on."""
    stops = page.execute_script(
        "return [...document.querySelectorAll('a[href], button, input, select, summary, [tabindex]')]"
        ".filter((e) => e.tabIndex >= 0 && e.checkVisibility()).length"
    )
    assert stops < 90
    first, second = page.find_elements("css selector", "#table4 .value")[:2]
    from selenium.webdriver.common.keys import Keys

    first.send_keys(Keys.ARROW_RIGHT)
    assert page.switch_to.active_element == second
    second.send_keys(Keys.ARROW_DOWN)
    row = page.execute_script(
        "return document.activeElement.closest('tr').rowIndex - arguments[0].closest('tr').rowIndex", second
    )
    assert row == 1


def test_more_examples_are_folded_and_a_link_opens_them(page: Any) -> None:
    assert not page.find_element("id", "figure11").is_displayed()
    assert page.find_element("id", "figure1").is_displayed()
    page.execute_script("location.hash = '#figure11'")
    until(page, lambda driver: driver.find_element("id", "figure11").is_displayed())


def test_a_figure_is_enlarged(page: Any) -> None:
    zoom = page.find_element("css selector", "#figure1 .zoom")
    page.execute_script("arguments[0].scrollIntoView({block: 'center'})", zoom)
    zoom.click()
    assert page.execute_script("return document.querySelector('#dialog img').naturalWidth") == 300
    page.find_element("css selector", "#dialog .close").click()
    size(page, 390, 700, touch=True)
    wait(page, "return innerWidth === 390")
    page.execute_script("location.hash = '#zoom=figure1'")
    wait(page, "return document.getElementById('dialog').open")
    width = "return document.querySelector('.pan > img').getBoundingClientRect().width"
    before = page.execute_script(width)
    larger = page.find_element("css selector", "#dialog [aria-label='Larger']")
    for _ in range(3):
        larger.click()
    assert page.execute_script(width) > 2 * before, "it grows beyond the window"
    moved = page.execute_script(
        "const p = document.querySelector('.pan'); p.scrollLeft = 50; return p.scrollLeft"
    )
    assert moved == 50, "and can be moved about"
