"""The page in a real browser, opened from disk with the network off: what can be pressed does what it says."""

from __future__ import annotations

import json
import shutil
import subprocess
import time
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from support import generated_run

from backbench.backbones import APPLICATIONS
from backbench.report import build

pytestmark = pytest.mark.slow

CHROMIUM = ("chromium", "chromium-browser", "google-chrome")
HOSTILE = ("<script>alert(1)</script>", "</script>")
FEW = tuple(one for one in APPLICATIONS if one.name in ("VGG16", "VGG19", "Xception", "MobileNetV2", "ResNet50"))
AXE = "axe-core@4.10.3"


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """Headless Chromium that keeps a log of its console and of what it asks the network for."""
    webdriver = pytest.importorskip("selenium.webdriver", reason="selenium is not installed")
    chromium = next((found for name in CHROMIUM if (found := shutil.which(name))), None)
    driver = shutil.which("chromedriver")
    if not chromium or not driver:
        pytest.skip("chromium and chromedriver are not installed (Debian: apt-get install chromium chromium-driver)")
    options = webdriver.ChromeOptions()
    options.binary_location = chromium
    for flag in ("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-background-networking"):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    running = webdriver.Chrome(options=options, service=webdriver.ChromeService(executable_path=driver))
    yield running
    running.quit()


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Five backbones at two depths on classes with hostile names."""
    folder = tmp_path_factory.mktemp("small") / "run"
    classes = (*HOSTILE, *generated_run.CLASSES[:10])
    generated_run.write(folder, backbones=FEW, freezes=("all", "all-1"), seeds=1, classes=classes, items=600)
    return build.write_report(folder)


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """40 backbones at five depths with three seeds: 600 cells."""
    folder = tmp_path_factory.mktemp("large") / "run"
    generated_run.write(folder)
    return build.write_report(folder)


@pytest.fixture
def page(browser: Any, small: Path) -> Any:
    return opened(browser, small)


def opened(browser: Any, path: Path, *, width: int = 1280, scheme: str = "light") -> Any:
    """The page, drawn, at a width in CSS pixels; below 600 it is a phone."""
    size = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 600}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    scheme_of = [{"name": "prefers-color-scheme", "value": scheme}]
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": "screen", "features": scheme_of})
    browser.set_network_conditions(offline=True, latency=0, throughput=0)
    for log in ("browser", "performance"):
        browser.get_log(log)
    browser.get(path.as_uri())
    wait(browser, "document.documentElement.dataset.plots === 'drawn'")
    return browser


def wait(browser: Any, condition: str, seconds: int = 60) -> None:
    from selenium.webdriver.support.ui import WebDriverWait

    WebDriverWait(browser, seconds).until(lambda _: browser.execute_script(f"return {condition}"), condition)


def press(browser: Any, selector: str) -> None:
    found = browser.find_element("css selector", selector)
    browser.execute_script("arguments[0].scrollIntoView({block: 'center', behavior: 'instant'})", found)
    found.click()


def choose(browser: Any, selector: str, option: str) -> None:
    from selenium.webdriver.support.ui import Select

    Select(browser.find_element("css selector", selector)).select_by_visible_text(option)


def rows(browser: Any, attribute: str = "backbone") -> list[str]:
    """Of the visible rows, in order."""
    script = "return [...document.querySelectorAll('.board tbody tr')].filter((row) => !row.hidden)"
    return list(browser.execute_script(f"{script}.map((row) => row.dataset.{attribute})"))


def column(browser: Any, name: str) -> list[float]:
    headings = browser.execute_script(
        "return [...document.querySelectorAll('.board thead th')].map((h) => h.innerText)"
    )
    place = next(i for i, heading in enumerate(headings) if heading.startswith(name)) + 1
    found = browser.find_elements("css selector", f".board tbody tr > :nth-child({place})")
    return [float(cell.get_attribute("data-value")) for cell in found]


def status(browser: Any) -> str:
    return str(browser.execute_script("return document.querySelector('#chosen').firstChild?.textContent ?? ''")).strip()


def marks(browser: Any, plot: str, kind: str = "path") -> list[Any]:
    """The marks of a plot that stand for data."""
    return list(browser.find_elements("css selector", f"[data-plot='{plot}'] .role-mark {kind}[transform]"))


def faded(browser: Any, plot: str) -> list[bool]:
    found = browser.find_elements("css selector", f"[data-plot='{plot}'] .role-mark :is(path, line)")
    return [mark.get_attribute("opacity") == "0.15" for mark in found]


# --- opening ----------------------------------------------------------------------------------------------------------


def test_it_opens_from_disk_and_neither_complains_nor_asks_the_network(page: Any) -> None:
    assert page.get_log("browser") == []
    messages = [json.loads(entry["message"])["message"] for entry in page.get_log("performance")]
    asked = [m["params"]["request"]["url"] for m in messages if m["method"] == "Network.requestWillBeSent"]
    assert [address.partition(":")[0] for address in asked] == ["file"]
    canvases = page.find_elements("css selector", ".canvas svg.marks")
    assert len(canvases) == len(page.find_elements("css selector", "figure.plot")) == 6
    assert not any(still.is_displayed() for still in page.find_elements("css selector", ".still"))


def test_hostile_class_names_are_text(page: Any) -> None:
    selectors = ("[data-plot='accuracy-by-class'] text", ".classes .class")
    drawn, listed = (
        [one.get_property("textContent") for one in page.find_elements("css selector", s)] for s in selectors
    )
    for name in HOSTILE:
        assert name in drawn
        assert name in listed
    assert len(page.find_elements("css selector", "script")) == 3


def test_without_a_script_the_still_plots_and_every_column_are_there(browser: Any, small: Path) -> None:
    browser.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": True})
    try:
        browser.get(small.as_uri())
        root = browser.execute_cdp_cmd("DOM.getDocument", {})["root"]["nodeId"]

        def shown(selector: str) -> bool:
            found = browser.execute_cdp_cmd("DOM.querySelector", {"nodeId": root, "selector": selector})["nodeId"]
            browser.execute_cdp_cmd("CSS.enable", {})
            style = browser.execute_cdp_cmd("CSS.getComputedStyleForNode", {"nodeId": found})["computedStyle"]
            return next(entry["value"] for entry in style if entry["name"] == "display") != "none"

        assert shown(".still")
        assert shown(".board tbody td:last-child")
        assert not shown("form.tools")
        assert not shown("div.alive")
    finally:
        browser.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": False})


def test_on_paper_the_still_plots_take_over(page: Any) -> None:
    page.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": "print"})
    assert all(still.is_displayed() for still in page.find_elements("css selector", ".still"))
    assert not any(one.is_displayed() for one in page.find_elements("css selector", ".alive, .tools"))
    assert page.execute_cdp_cmd("Page.printToPDF", {})["data"]


# --- the table --------------------------------------------------------------------------------------------------------


def test_a_heading_sorts_and_turns_round(page: Any) -> None:
    gaps = column(page, "Gap")
    assert gaps != sorted(gaps)
    press(page, ".board thead th:nth-child(4) button")
    assert column(page, "Gap") == sorted(gaps)
    press(page, ".board thead th:nth-child(4) button")
    assert column(page, "Gap") == sorted(gaps, reverse=True)
    heading = page.find_element("css selector", ".board thead th:nth-child(4)")
    assert heading.get_attribute("aria-sort") == "descending"
    press(page, ".board thead th:nth-child(3) button")
    test = column(page, "Test accuracy")
    assert test == sorted(test, reverse=True), "the best comes first"


def test_filters_and_search_keep_what_fits(page: Any) -> None:
    output = page.find_element("css selector", "form.tools output")
    assert output.text == "9 candidates"
    choose(page, "select[name=family]", "vgg")
    assert set(rows(page)) == {"VGG16", "VGG19"}
    choose(page, "select[name=freeze]", "all-1")
    assert sorted(rows(page)) == ["VGG16", "VGG19"]
    assert rows(page, "freeze") == ["all-1", "all-1"]
    search = page.find_element("css selector", "input[name=name]")
    search.send_keys("vgg19")
    assert rows(page) == ["VGG19"]
    assert output.text == "1 of 9 candidates"
    search.send_keys("x")
    assert output.text == "0 of 9 candidates: nothing fits"
    press(page, "form.tools [type=reset]")
    assert output.text == "9 candidates"
    choose(page, "select[name=badge]", "Pareto")
    assert rows(page)
    assert all("front" in kinds.split() for kinds in rows(page, "badge"))


def test_columns_come_and_go(page: Any) -> None:
    press(page, ".choice summary")
    val = page.find_element("css selector", ".board tbody tr td:nth-child(6)")
    ece = page.find_element("css selector", ".board tbody tr td:nth-child(18)")
    assert (val.is_displayed(), ece.is_displayed()) == (True, False)
    press(page, "input[value=val_acc]")
    press(page, "input[value=test_ece]")
    assert (val.is_displayed(), ece.is_displayed()) == (False, True)
    page.find_element("css selector", "input[value=test_ece]").send_keys("\ue00c")  # Escape
    assert not page.find_element("css selector", ".choice fieldset").is_displayed()


# --- plots to touch ---------------------------------------------------------------------------------------------------


def test_the_axis_of_cost_can_be_chosen(page: Any) -> None:
    place = "[data-plot='accuracy-against-latency']"
    titles = [text.text for text in page.find_elements("css selector", f"{place} .role-axis-title text")]
    assert "latency of one image, ms (logarithmic)" in titles
    choose(page, "#plot-accuracy-against-latency .head select", "parameters")
    wait(page, f"document.querySelector(\"{place}\").textContent.includes('parameters, millions (logarithmic)')")
    assert page.get_log("browser") == []


def test_hovering_names_the_point(page: Any) -> None:
    from selenium.webdriver.common.action_chains import ActionChains

    point = marks(page, "train-against-test")[-1]  # the test accuracy of the last row
    page.execute_script("arguments[0].scrollIntoView({block: 'center', behavior: 'instant'})", point)
    tip = page.find_element("css selector", "#tip")
    until = time.monotonic() + 60
    offset = 0
    while not tip.is_displayed():  # on a busy machine the scrolling, which hides it, may come after the pointer
        assert time.monotonic() < until
        offset = 1 - offset
        ActionChains(page).move_to_element_with_offset(point, offset, 0).perform()
        time.sleep(0.1)
    last = page.find_elements("css selector", ".board tbody .name")[-1].text
    assert tip.text.splitlines()[0] == last
    assert tip.text.splitlines()[1] == "test, %"
    page.find_element("css selector", "body").send_keys("\ue00c")
    assert not tip.is_displayed()


def test_a_press_on_a_point_highlights_its_backbone_everywhere(page: Any) -> None:
    from selenium.webdriver.common.action_chains import ActionChains

    assert not any(faded(page, "train-against-test"))
    point = marks(page, "train-against-test")[-1]
    page.execute_script("arguments[0].scrollIntoView({block: 'center', behavior: 'instant'})", point)
    ActionChains(page).click(point).perform()
    wait(page, "document.querySelectorAll('.board tr.picked').length > 0")
    name = rows(page)[-1]
    assert status(page) == f"{name} is highlighted"
    picked = page.find_elements("css selector", ".board tr.picked")
    assert {row.get_attribute("data-backbone") for row in picked} == {name}
    assert all(row.find_element("css selector", ".name").get_attribute("aria-pressed") == "true" for row in picked)
    for plot in ("train-against-test", "accuracy-by-class", "accuracy-against-latency"):
        wait(page, f"document.querySelector(\"[data-plot='{plot}'] .role-mark [opacity='0.15']\") !== null")
        assert not all(faded(page, plot))
    for plot in ("reliability", "learning-curves", "accuracy-against-freeze-depth"):
        key = page.find_element("css selector", f"#plot-{plot} [data-focus]")
        assert key.text == name
    assert page.find_element("css selector", "#plot-train-against-test .marks").text.startswith("test, with")
    assert page.find_element("css selector", ".board thead th:nth-child(4)").text.startswith("Gap")
    press(page, "#chosen button")
    assert status(page) == ""
    wait(page, "document.querySelector(\".role-mark [opacity='0.15']\") === null")


def test_a_press_on_a_row_or_a_choice_highlights_too(page: Any) -> None:
    press(page, ".board tbody tr:last-child td.accuracy")
    name = rows(page)[-1]
    assert status(page) == f"{name} is highlighted"
    assert page.find_element("css selector", "#highlight").get_attribute("value") == name
    wait(page, "document.querySelector(\"[data-plot='train-against-test'] [opacity='0.15']\") !== null")
    page.find_element("css selector", "body").send_keys("\ue00c")
    assert status(page) == ""
    choose(page, "#highlight", "Xception")
    assert status(page) == "Xception is highlighted"
    button = page.find_element("css selector", ".board tr[data-backbone=VGG16] .name")
    button.send_keys("\n")
    assert status(page) == "VGG16 is highlighted", "the keyboard reaches it as well"


def test_a_key_does_not_promise_a_line_that_is_not_there(page: Any) -> None:
    key = page.find_element("css selector", "#plot-accuracy-against-freeze-depth [data-focus]")
    first = key.text
    page.execute_script("choose('scratch')")
    assert key.text == "scratch: nothing to show here"
    page.execute_script("choose('scratch')")
    assert key.text == first


@pytest.mark.parametrize("width", [1280, 390])
def test_the_heatmap_is_whole_and_its_numbers_keep_apart(browser: Any, small: Path, width: int) -> None:
    page = opened(browser, small, width=width)
    script = """
        const canvas = document.querySelector("[data-plot='accuracy-by-class']");
        const sides = (selector) => [...canvas.querySelectorAll(selector)].map((e) => e.getBoundingClientRect());
        return {
          edge: canvas.querySelector("svg").getBoundingClientRect().right,
          names: sides(".role-axis-label text").map((box) => box.right),
          numbers: sides(".mark-text.role-mark text").map((box) => [box.top, box.left, box.right]),
        };"""
    found = page.execute_script(script)
    assert found["names"]
    assert max(found["names"]) <= found["edge"]
    beside = sorted(found["numbers"])
    rows_of = {round(top) for top, _, _ in beside}
    assert len(beside) > len(rows_of) > 1
    for (top, _, right), (next_top, left, _) in pairwise(beside):
        assert round(top) != round(next_top) or left - right >= 4


# --- everywhere and for everybody -------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", ["small", "large"])
def test_nothing_is_wider_than_a_phone(browser: Any, size: str, request: pytest.FixtureRequest) -> None:
    page = opened(browser, request.getfixturevalue(size), width=390)
    page.execute_script("for (const fold of document.querySelectorAll('details')) fold.open = true")
    assert page.execute_script("return document.documentElement.scrollWidth") == 390


@pytest.fixture(scope="module")
def axe(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The source of axe-core, from npm."""
    npm = shutil.which("npm")
    if not npm:
        pytest.skip("npm is not installed, and axe-core comes from there")
    folder = tmp_path_factory.mktemp("axe")
    command = [npm, "install", "--silent", "--no-audit", "--no-fund", "--prefix", str(folder), AXE]
    try:
        subprocess.run(command, check=True, capture_output=True, timeout=120)
    except (subprocess.CalledProcessError, subprocess.TimeoutExpired):
        pytest.skip(f"npm cannot get {AXE}")
    return (folder / "node_modules/axe-core/axe.min.js").read_text(encoding="utf-8")


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1280, 390])
def test_axe_finds_no_serious_violation(browser: Any, small: Path, axe: str, scheme: str, width: int) -> None:
    page = opened(browser, small, width=width, scheme=scheme)
    page.execute_script("for (const fold of document.querySelectorAll('details:not(.choice)')) fold.open = true")
    press(page, ".board tbody tr:last-child td.accuracy")  # with a highlight, as that has colours of its own
    page.execute_script(axe)
    found = page.execute_async_script("axe.run().then(arguments[arguments.length - 1])")
    weighty = [one for one in found["violations"] if one["impact"] in ("serious", "critical")]
    assert [(one["id"], [node["html"][:200] for node in one["nodes"][:3]]) for one in weighty] == []
    assert len(found["passes"]) > 20


def test_six_hundred_cells_can_be_sorted_and_searched(browser: Any, large: Path, record_property: Any) -> None:
    page = opened(browser, large)
    assert large.stat().st_size < 5_000_000
    assert len(rows(page)) == 199
    measure = """
      const done = arguments[arguments.length - 1];
      const timed = async (work) => {
        const start = performance.now();
        work();
        document.body.offsetHeight;
        await new Promise((next) => requestAnimationFrame(() => setTimeout(next)));
        return performance.now() - start;
      };
      (async () => {
        const search = document.querySelector("input[name=name]");
        const found = {};
        found.sort = await timed(() => document.querySelector(".board thead th:nth-child(4) button").click());
        search.value = "net50";
        found.search = await timed(() => search.dispatchEvent(new Event("input", {bubbles: true})));
        found.column = await timed(() => document.querySelector("input[value=test_ece]").click());
        found.highlight = await timed(() => document.querySelector(".board tbody tr").click());
        done(found);
      })();
    """
    took = page.execute_async_script(measure)
    record_property("milliseconds", took)
    print("milliseconds:", {name: round(value) for name, value in took.items()})
    assert set(rows(page)) == {"ResNet50", "ResNet50V2"}
