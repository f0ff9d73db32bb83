"""The documentation site builds without a warning, its links hold, and a browser shows it."""

from __future__ import annotations

import functools
import re
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest
from conftest import run_python

ROOT = Path(__file__).parents[2]
SOURCES = [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")]


@pytest.fixture(scope="module")
def site(python, once):
    """The site, built from the repository as ``make docs`` builds it."""

    def build(folder: Path) -> None:
        arguments = ["-q", "-W", "--keep-going", "-c", ROOT / "docs", "-d", folder / "doctrees"]
        run_python("-m", "sphinx", *arguments, ROOT, folder / "html")

    pytest.importorskip("sphinx", reason="make docs installs it")
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr("sys.executable", python)
        return once("site", build) / "html"


class Links(HTMLParser):
    """What a page refers to, and the places in it that others can refer to."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.targets: set[str] = set()
        self.places: set[str] = set()
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        values = dict(attrs)
        self.targets |= {values[key] for key in ("href", "src") if values.get(key)}
        self.places |= {values["id"]} if values.get("id") else set()


@functools.cache
def links_of(page: Path) -> Links:
    return Links(page.read_text())


@pytest.mark.process
def test_every_page_is_in_the_site(site):
    built = {page.relative_to(site).with_suffix(".md") for page in site.rglob("*.html")}
    assert {page.relative_to(ROOT) for page in SOURCES} <= built
    assert "docs/index.html" in (site / "index.html").read_text()


@pytest.mark.process
def test_every_link_leads_to_a_file_and_a_place_in_it(site):
    broken, seen = [], 0
    for page in site.rglob("*.html"):
        for target in links_of(page).targets:
            parts = urlsplit(target)
            if parts.scheme or parts.netloc:
                continue
            seen += 1
            file = (page.parent / unquote(parts.path)).resolve() if parts.path else page
            place = unquote(parts.fragment)
            if not file.is_file() or (place and place not in links_of(file).places):
                broken.append((page.name, target))
    assert broken == []
    assert seen > 1000


@pytest.mark.process
def test_nothing_is_loaded_from_elsewhere(site):
    for page in site.rglob("*.html"):
        loaded = re.findall(
            r"<(?:script|link|img)[^>]* (?:src|href)=\"(https?:[^\"]*)", page.read_text()
        )
        assert loaded == [], page


@pytest.mark.parametrize("page", SOURCES, ids=lambda page: page.name)
def test_links_work_on_a_code_host_too(page):
    """Relative ones lead to files of the repository; the site checks their anchors."""
    text = re.sub(r"```.*?```", "", page.read_text(), flags=re.DOTALL)
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if not urlsplit(target).scheme:
            assert (page.parent / target.partition("#")[0]).exists(), target


def test_the_readme_is_short():
    lines = (ROOT / "README.md").read_text().splitlines()
    assert len(lines) <= 150
    assert [line for line in lines if len(line) > 120 and not line.startswith("|")] == []


@pytest.mark.process
@pytest.mark.parametrize(
    ("page", "width"),
    [
        *((page, 390) for page in ("docs/index", "README", "docs/api", "search")),
        *(("docs/configuration", width) for width in (390, 1280)),
    ],
)
def test_a_browser_shows_it_offline_without_complaint_and_without_overflow(
    site, browser, page, width
):
    seen = browser.look_at(site / f"{page}.html", width)
    assert seen.complaints == []
    assert [url for url in seen.requests if not url.startswith(("data:", site.as_uri()))] == []
    assert all(size > 0 for _, size in seen.pictures)
    assert seen.width <= width
