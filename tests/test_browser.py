"""Neo4j Browser as people see it: served by the server itself, in our colours, without vectors."""

from __future__ import annotations

import io
import json
import re
import shutil
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tosg_graph import browser
from tosg_graph.query import CannedQuery, list_canned
from tosg_graph.resources import schema, web
from tosg_graph.server import browser_login

if TYPE_CHECKING:
    from selenium.webdriver import Chrome

    from tosg_graph.graph import Graph

CANNED = list_canned()
STYLE = {
    (kind, name): dict(re.findall(r"([\w-]+): ([^;]+);", body))
    for kind, name, body in re.findall(
        r"(node|relationship)\.?(\w*) \{(.*?)\}", web("style.grass"), re.DOTALL
    )
}
COLOURS = {name: rule["color"].lower() for (kind, name), rule in STYLE.items() if kind == "node"}


def luminance(colour: str) -> float:
    """Relative luminance of ``#rrggbb`` as WCAG 2 defines it."""
    channels = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


# --------------------------------------------------------------------------- the files


def test_every_label_and_verb_has_a_style_and_the_main_label_of_a_node_decides() -> None:
    # Later rules win in Browser; in the schema earlier labels do.
    expected = ["Entity", *reversed(schema("nodes")["labels"]), "Source", "Release"]
    assert list(COLOURS) == expected, (
        "give each label of schema/nodes.yaml a rule in tosg_graph/web/style.grass"
    )
    assert {name for kind, name in STYLE if kind == "relationship"} == {
        "",
        *schema("edges")["verbs"],
        schema("edges")["findings"],
    }


def test_no_two_labels_look_the_same_and_each_caption_can_be_read() -> None:
    assert len(set(COLOURS.values())) == len(COLOURS)
    for (kind, _), rule in STYLE.items():
        if kind == "node":
            light, dark = sorted(map(luminance, (rule["color"], rule["text-color-internal"])), reverse=True)
            assert (light + 0.05) / (dark + 0.05) >= 4.5, rule  # the contrast WCAG asks of small text


def test_the_guide_holds_the_questions_as_they_are_now() -> None:
    assert web("guide.html") == browser.guide(), "run: python scripts/generate_browser_guide.py"
    assert web("guide.html").count("data-query=") >= 5


def test_saved_queries_are_all_canned_questions_twice() -> None:
    with zipfile.ZipFile(io.BytesIO(browser.saved_queries())) as archive:
        names = archive.namelist()
        assert archive.read("tosg/gene_pathways.cypher").startswith(
            b"// Which pathways does a gene take part in?\n"
        )
    assert len(names) == 2 * len(CANNED)
    assert browser.saved_queries() == browser.saved_queries()


def test_the_jar_is_made_once_and_anew_when_something_changes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    jar, target = tmp_path / "neo4j-browser-1.jar", tmp_path / "ours.jar"
    with zipfile.ZipFile(jar, "w") as archive:
        archive.writestr("browser/index.html", "theirs")
    browser.jar_with_ours(jar, target)
    made = target.stat().st_mtime_ns
    browser.jar_with_ours(jar, target)
    assert target.stat().st_mtime_ns == made
    with zipfile.ZipFile(target) as archive:
        assert archive.read("browser/index.html") == b"theirs"
        assert {n for n in archive.namelist() if "tosg" in n} == {
            f"browser/tosg/{n}" for n in browser.pages()
        }
    monkeypatch.setattr(browser, "pages", lambda: {"style.grass": b"other"})
    browser.jar_with_ours(jar, target)
    with zipfile.ZipFile(target) as archive:
        assert archive.read("browser/tosg/style.grass") == b"other"
    target.write_bytes(b"cut short")
    browser.jar_with_ours(jar, target)
    assert zipfile.is_zipfile(target)


# --------------------------------------------------------------------------- the server


@pytest.mark.parametrize("canned", [c for c in CANNED if c.topic != "findings"], ids=lambda c: c.name)
def test_each_question_can_be_drawn_and_listed(demo_graph: Graph, canned: CannedQuery) -> None:
    drawn = demo_graph.rows(browser.drawn(canned))
    assert drawn
    assert all(row["node"]["id"] for row in drawn)
    assert demo_graph.rows(browser.table(canned))


def test_what_is_drawn_has_its_relationships_and_no_vector(graph: Graph) -> None:
    graph.write(
        "CREATE (g:Entity:Gene {id: 'HGNC:1', symbol: 'STAT1', name: 'STAT1', text_embedding: [0.5, 0.5]})"
        "-[:PARTICIPATES_IN {source: 'x'}]->(:Entity:Pathway {id: 'REACT:1', name: 'p', text_embedding: [0.1]})"
    )
    canned = next(c for c in CANNED if c.name == "gene_pathways")
    rows = {row["node"]["id"]: row for row in graph.rows(browser.drawn(canned))}
    assert set(rows) == {"HGNC:1", "REACT:1"}
    assert not [row for row in rows.values() if "text_embedding" in row["node"]]
    [between] = rows["HGNC:1"]["relationships"]
    assert (between.type, dict(between)) == ("PARTICIPATES_IN", {"source": "x"})
    assert between.end_node.element_id == rows["REACT:1"]["node"].element_id


@pytest.fixture
def chromium(tmp_path: Path) -> Iterator[Chrome]:
    """Headless Chromium that reaches nothing but this machine, and notes every request."""
    if not (binary := shutil.which("chromium")) or not (driver := shutil.which("chromedriver")):
        pytest.skip("no chromium and chromedriver (Debian: apt-get install chromium chromium-driver)")
    from selenium.webdriver import Chrome, ChromeOptions, ChromeService

    options = ChromeOptions()
    options.binary_location = binary
    for flag in (
        "--headless=new",
        "--no-sandbox",  # as root there is none
        "--disable-gpu",
        "--disable-dev-shm-usage",
        "--disable-quic",
        "--no-first-run",
        "--disable-background-networking",
        "--disable-component-update",
        "--disable-sync",
        "--window-size=1500,1000",
        "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
        f"--user-data-dir={tmp_path / 'chromium'}",
    ):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"performance": "ALL"})
    found = Chrome(options=options, service=ChromeService(driver))
    try:
        yield found
    finally:
        found.quit()


def requests(chrome: Chrome) -> tuple[set[str], set[str]]:
    """Addresses asked for so far, and those that answered."""
    asked: set[str] = set()
    answered: set[str] = set()
    for entry in chrome.get_log("performance"):
        message = json.loads(entry["message"])["message"]
        if message["method"] == "Network.requestWillBeSent":
            asked.add(message["params"]["request"]["url"])
        if message["method"] == "Network.responseReceived":
            answered.add(message["params"]["response"]["url"])
    return asked, answered


def rgb(fill: str) -> str:
    """Colour of an SVG circle as ``#rrggbb``."""
    numbers = re.findall(r"\d+", fill)
    return fill.lower() if fill.startswith("#") else "#" + "".join(f"{int(n):02x}" for n in numbers[:3])


def test_browser_opens_offline_logs_in_and_draws_in_our_colours(
    demo_graph: Graph, chromium: Chrome, tmp_path: Path
) -> None:
    from selenium.webdriver.common.by import By
    from selenium.webdriver.support.ui import WebDriverWait

    wait = WebDriverWait(chromium, 90)
    login = browser_login(demo_graph.settings, demo_graph.address)
    chromium.get(login["browser"])
    form = wait.until(lambda c: c.find_element(By.CSS_SELECTOR, "[data-testid='password']"))
    assert (
        chromium.find_element(By.CSS_SELECTOR, "[data-testid='username']").get_attribute("value") == "neo4j"
    )
    form.send_keys(Path(login["password in"]).read_text().strip())
    chromium.find_element(By.CSS_SELECTOR, "[data-testid='connect']").click()

    wait.until(lambda c: "What is known, as text on a graph" in c.page_source)
    saved = json.loads(chromium.execute_script("return localStorage.getItem('neo4j.documents')"))
    assert {f"tosg-{c.name}" for c in CANNED} < {entry.get("id") for entry in saved}

    for _ in range(2):
        chromium.find_element(By.CSS_SELECTOR, "[data-testid='nextSlide']").click()
    question = wait.until(lambda c: c.find_element(By.CSS_SELECTOR, "pre[data-query='drugs_for_pathway']"))
    wait.until(lambda c: question.is_displayed())
    question.click()  # Browser puts it into the editor
    chromium.find_element(By.CSS_SELECTOR, "[data-testid='editor-Run']").click()
    wait.until(lambda c: len(c.find_elements(By.CSS_SELECTOR, "g.node circle")) > 5)
    circles = chromium.find_elements(By.CSS_SELECTOR, "g.node circle")
    fills = {rgb(circle.get_attribute("fill") or "none") for circle in circles}
    assert {COLOURS["Gene"], COLOURS["Drug"], COLOURS["Pathway"]} <= fills
    assert chromium.find_elements(By.CSS_SELECTOR, "g.relationship")
    picture = tmp_path / "browser.png"
    assert chromium.save_screenshot(str(picture))
    assert picture.stat().st_size > 20_000
    asked, answered = requests(chromium)
    elsewhere = re.compile(r"(?!http://127\.0\.0\.1:)(https?|wss?)://")
    assert not [url for url in answered if elsewhere.match(url)]
    assert {url.rpartition("/")[2] for url in answered} >= {"style.grass", "guide.html", "open.js"}
    assert not [url for url in asked if "password" in url]
