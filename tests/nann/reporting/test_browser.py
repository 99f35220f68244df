"""Pages as readers see them: opened in Chromium at the widths of a desk and of a phone, in both schemes, and measured by script."""

from __future__ import annotations

import base64
import json
import re
import shutil
import subprocess
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from nann.reporting.page import Card, Page, PageTable, Section, render
from nann.reporting.recall_sections import recall_series
from nann.reporting.run_page import RunNumbers, run_page

WIDTHS = (1280, 400)
# What is wrong with a page: wider than the screen, tables that must be scrolled, cells that stand over their edge or are hidden, words that
# are broken in the middle. Ids of 30 letters and more may be broken.
MEASURE = """
const wrong = [];
const told = element => element.textContent.trim().replace(/\\s+/g, " ").slice(0, 60);
document.querySelectorAll("details").forEach(part => part.open = true);
const root = document.documentElement;
if (root.scrollWidth > root.clientWidth) wrong.push("the page is " + root.scrollWidth + " wide");
for (const box of document.querySelectorAll(".scroll")) {
  if (box.scrollWidth > box.clientWidth) wrong.push("table of " + box.scrollWidth + " in " + box.clientWidth + ": " + told(box));
  const edge = box.getBoundingClientRect();
  for (const cell of box.querySelectorAll("td")) {
    const place = cell.getBoundingClientRect();
    if (place.right > edge.right + 1 || place.left < edge.left - 1) wrong.push("cell over the edge: " + told(cell));
    if (cell.scrollWidth > cell.clientWidth + 1 || !place.width) wrong.push("cell hides a part: " + told(cell));
  }
}
const words = document.createTreeWalker(document.querySelector("main"), NodeFilter.SHOW_TEXT);
while (words.nextNode()) {
  const node = words.currentNode;
  if (node.parentElement.closest("svg, h1, .facts")) continue;
  for (const found of node.data.matchAll(/\\S+/g)) {
    const range = document.createRange();
    range.setStart(node, found.index);
    range.setEnd(node, found.index + found[0].length);
    const lines = new Set([...range.getClientRects()].map(place => Math.round(place.top)));
    if (lines.size > 1 && !/[-–]/.test(found[0]) && found[0].length < 30) wrong.push("broken word: " + found[0]);
  }
}
return wrong;
"""
# The least contrast of a text with the ground it stands on, by the formula of WCAG 2, over all elements with a text of their own.
CONTRAST = """
const light = color => {
  const parts = color.match(/[\\d.]+/g).slice(0, 3).map(Number).map(value => value / 255);
  const linear = parts.map(value => value <= 0.03928 ? value / 12.92 : ((value + 0.055) / 1.055) ** 2.4);
  return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2];
};
const ground = element => {
  for (let part = element; part; part = part.parentElement) {
    const color = getComputedStyle(part).backgroundColor;
    if (!/, 0\\)$|transparent/.test(color)) return light(color);
  }
  return light("rgb(255, 255, 255)");
};
const least = [99, ""];
for (const element of document.querySelectorAll("main *")) {
  const own = [...element.childNodes].some(node => node.nodeType === 3 && node.data.trim());
  if (!own || element.closest("defs, style")) continue;
  const style = getComputedStyle(element);
  const pair = [light(element.closest("svg") ? style.fill : style.color), ground(element)].sort((one, other) => other - one);
  const contrast = (pair[0] + 0.05) / (pair[1] + 0.05);
  if (contrast < least[0]) { least[0] = contrast; least[1] = element.textContent.trim().slice(0, 40); }
}
return [least[0], least[1], light(getComputedStyle(document.body).backgroundColor)];
"""
PROGRAMS = ("chromium", "chromedriver")
FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
START_SECONDS = 60


def missing_programs() -> list[str]:
    """Those of the two programs that are not installed here."""
    return [name for name in PROGRAMS if shutil.which(name) is None]


class Browser:
    """One tab.

    Args:
        directory: an empty directory for the browser's profile.
    """

    def __init__(self, directory: Path) -> None:
        command = [str(shutil.which("chromedriver")), "--port=0"]
        self._driver = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        assert self._driver.stdout is not None
        port = None
        for line in self._driver.stdout:
            if found := re.search(r"started successfully on port (\d+)", line):
                port = found.group(1)
                break
        assert port, "chromedriver did not start"
        self._url = f"http://127.0.0.1:{port}/session"
        options = {"binary": shutil.which("chromium"), "args": [*FLAGS, f"--user-data-dir={directory}"]}
        try:
            session = self._post("", {"capabilities": {"alwaysMatch": {"browserName": "chrome", "goog:chromeOptions": options}}})
        except BaseException:
            self._driver.kill()
            raise
        self._url += f"/{session['sessionId']}"

    def open(self, page: Path, *, width: int, dark: bool = False) -> None:
        """Shows a page on a screen of a width in CSS pixels, in the light or the dark scheme."""
        self._tell("Emulation.setDeviceMetricsOverride", width=width, height=900, deviceScaleFactor=1, mobile=False)
        self._tell("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": "dark" if dark else "light"}])
        self._post("/url", {"url": page.absolute().as_uri()})

    def run(self, script: str) -> Any:
        """What a function body in JavaScript returns on the open page."""
        return self._post("/execute/sync", {"script": script, "args": []})

    def picture(self, path: Path) -> None:
        """Writes the whole page as PNG."""
        drawn = self._tell("Page.captureScreenshot", format="png", captureBeyondViewport=True)
        path.write_bytes(base64.b64decode(drawn["data"]))

    def close(self) -> None:
        """Ends the browser and its driver."""
        try:
            self._request("", None, "DELETE")
        finally:
            self._driver.terminate()
            self._driver.wait(20)

    def _tell(self, command: str, **parameters: Any) -> Any:
        return self._post("/goog/cdp/execute", {"cmd": command, "params": parameters})

    def _post(self, path: str, body: Any) -> Any:
        return self._request(path, body, "POST")

    def _request(self, path: str, body: Any, method: str) -> Any:
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(self._url + path, data, {"Content-Type": "application/json"}, method=method)
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        with opener.open(request, timeout=START_SECONDS) as answer:
            return json.loads(answer.read())["value"]


@pytest.fixture(scope="session")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    if missing := missing_programs():
        pytest.skip(f"no {' and no '.join(missing)} here; on Debian: apt-get install --no-install-recommends chromium chromium-driver")
    opened = Browser(tmp_path_factory.mktemp("profile"))
    yield opened
    opened.close()


def wide_run(run: RunNumbers) -> RunNumbers:
    """The made-up run with all baselines there are, groups in all divisions, long options, and titles of items."""
    names = ("popularity", "popularity_recent", "category_popularity", "repeat_last", "item_cf", "vsknn", "sequential_rules", "hnswlib")
    metrics = json.loads(json.dumps(run.metrics))
    for part in (metrics["baselines"], metrics["intervals"]["baselines"]):
        part |= dict.fromkeys(names, part["item_cf"])
    recalls = {f"{name}@10": 0.25 for name in names} | {f"recall_{kind}@10": 0.5 for kind in ("all", "retrieval")}
    group = {"users": 1234, **recalls, "intervals": {name: [0.123, 0.987] for name in recalls}}
    divisions = {"target_train_events": ("0", "1-4", "5-19", "20-99", "100+"), "target_in_history": ("no", "yes")}
    metrics["groups"] = {name: [{**group, "group": label} for label in labels] for name, labels in divisions.items()}
    user = {"user_id": 10**12, "history": [1, 2, 3], "target_row": 2, "rank_retrieval": 7, "retrieved": [3, 1, 2]}

    def name(row: int) -> str:
        return f"A rather long title of item number {row} (id-{row:012d})"

    return RunNumbers(**{**vars(run), "metrics": metrics, "examples": [user] * 10, "name": name})


def written(page: Page, path: Path) -> Path:
    path.write_text(render(page), encoding="utf-8")
    return path


def looked_at(page: Page, browser: Browser, path: Path) -> list[str]:
    """What is wrong with a page: at the width of a desk in the light scheme, at that of a phone in the dark one."""
    wrong = []
    for width, dark in ((1280, False), (400, True)):
        browser.open(written(page, path), width=width, dark=dark)
        wrong += browser.run(MEASURE)
        least, text, ground = browser.run(CONTRAST)
        if least < 4.5:
            wrong.append(f"contrast of {text!r} is {least:.2f} only, dark: {dark}")
        if not (ground < 0.05 if dark else ground > 0.8):
            wrong.append(f"the ground has luminance {ground:.2f}, dark: {dark}")
    return wrong


def test_nothing_of_a_run_is_clipped_or_faint(run: RunNumbers, browser: Browser, tmp_path: Path) -> None:
    assert looked_at(run_page(wide_run(run)), browser, tmp_path / "run.html") == []


def test_nothing_of_a_step_is_clipped_or_faint(pages: dict[str, Page], browser: Browser, tmp_path: Path) -> None:
    assert {name: looked_at(page, browser, tmp_path / f"{name}.html") for name, page in pages.items()} == {name: [] for name in pages}


@pytest.mark.parametrize("width", WIDTHS)
def test_what_is_clipped_is_found(browser: Browser, tmp_path: Path, width: int) -> None:
    """The measure itself: a page as reports were, whose table keeps its columns in one line, and one with a cell that nothing can break."""
    table = PageTable(["group", *(f"column{number}" for number in range(14))], [["0", *["0.123 (0.110 - 0.137)"] * 14]])
    page = written(Page("t", "s", cards=[Card("a", "b")], sections=[Section("a", "a", tables=[table])]), tmp_path / "page.html")
    broken = page.read_text(encoding="utf-8").replace(
        "</style>", "td { white-space: nowrap; } table tr { display: table-row !important; }</style>"
    )
    page.write_text(broken, encoding="utf-8")
    browser.open(page, width=width)
    assert any("table of" in wrong for wrong in browser.run(MEASURE))


def test_intervals_of_shares_stay_within_0_and_1(run: RunNumbers) -> None:
    for bars in recall_series(run.metrics):
        for value, interval in zip(bars.values, bars.intervals, strict=True):
            low, high = interval or (value, value)
            assert 0 <= low <= value <= high <= 1
