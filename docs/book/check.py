"""Checks the book as readers see it: ``python docs/book/check.py``. Needs the ``docs-check`` extra.

It builds the book with every warning an error, and then wants: all links inside the site to lead
somewhere, nothing loaded from another server, no error in the console of headless Chromium, no page
wider than a phone, no violation of the accessibility rules of axe-core, and the pages that
replay runs to answer to the keyboard. Chromium is the one on the PATH (Debian's package is
``chromium``), or ``CHROMIUM`` names it. ``--screenshots FOLDER`` keeps pictures of five pages.
"""

import argparse
import contextlib
import functools
import http.server
import itertools
import os
import shutil
import sys
import threading
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

from axe_playwright_python.sync_playwright import Axe
from build import ROOT, build
from playwright.sync_api import Page, Request, sync_playwright

WIDTHS = {1280: 900, 390: 844}  # a laptop and a phone
RUNS = [f"docs/book/inside/{name}.html" for name in ("votes", "tree", "steps", "grpo")]
PICTURED = [
    "docs/book/index.html",
    "lessons/02_self_consistency.html",
    "docs/book/api.html",
    *RUNS[:2],
]
# One page of each kind is read by axe: it takes a second or more a page.
READ_BY_AXE = [
    *PICTURED,
    *RUNS[2:],
    "README.html",
    "lessons/exercises/02.html",
    "lessons/08_grpo.html",
    "docs/results/README.html",
    "docs/architecture.html",
    "docs/book/glossary.html",
    "docs/book/troubleshooting.html",
    "checkpoints/tiny/README.html",
    "findings/README.html",
]


class Links(HTMLParser):
    """The ids, the links and the loaded files of a page."""

    def __init__(self, page: Path):
        super().__init__()
        self.ids: set[str] = set()
        self.links: set[str] = set()
        self.loaded: set[str] = set()
        self.feed(page.read_text())

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = dict(attrs)
        self.ids |= {found[name] for name in ("id", "name") if found.get(name)}
        if tag == "a" and found.get("href"):
            self.links.add(found["href"])
        is_shown = tag != "link" or found.get("rel") in ("stylesheet", "icon")
        if tag in ("img", "script", "link", "source") and is_shown:
            self.loaded |= {found[name] for name in ("src", "href") if found.get(name)}


def dead_links(site: Path) -> Iterator[str]:
    """Links inside the site that lead nowhere, and files that come from elsewhere."""
    pages = {path: Links(path) for path in site.rglob("*.html")}
    for page, found in pages.items():
        here = page.relative_to(site)
        for link in found.links | found.loaded:
            url = urlsplit(link)
            if url.scheme or url.netloc:
                if link in found.loaded and url.scheme != "data":
                    yield f"{here}: loads {link} from another server"
                continue
            target = (page.parent / unquote(url.path)).resolve() if url.path else page
            if not target.is_file():
                yield f"{here}: {link} leads nowhere"
            elif (
                target in pages and url.fragment and unquote(url.fragment) not in pages[target].ids
            ):
                yield f"{here}: {link} names no place on that page"


def watch(page: Page, faults: list[str]) -> None:
    """Collects what the console of the page calls an error, and what could not be loaded."""
    page.on("console", lambda said: said.type == "error" and faults.append(said.text))
    page.on("pageerror", lambda error: faults.append(str(error)))

    def failed(request: Request) -> None:
        if request.failure != "net::ERR_ABORTED":  # by going on to the next page
            faults.append(f"{request.url} failed")

    page.on("requestfailed", failed)


def page_faults(page: Page, name: str, width: int) -> Iterator[str]:
    """What is wrong with a page that is open."""
    wide = page.evaluate("document.documentElement.scrollWidth")
    if wide > width:
        yield f"{wide} pixels wide"
    if name in READ_BY_AXE:
        # A page from a file may not fetch its styles once more, as axe would.
        found = Axe().run(page, options={"preload": False})
        for violation in found.response["violations"]:
            places = [node["target"][0] for node in violation["nodes"]]
            yield f"{violation['id']}: {violation['help']} ({len(places)}: {places[:3]})"
    if name in RUNS and not page.locator(".run-said").count():
        yield "nothing is shown"
    elif name in RUNS:
        said = page.locator(".run-said")
        texts = {said.inner_text()}
        page.get_by_role("button", name="Next").focus()
        for key in ("ArrowLeft", "ArrowRight"):
            page.keyboard.press(key)
            texts.add(said.inner_text())
        if len(texts) == 1:
            yield "the arrow keys do nothing"


def browser_faults(site: Path, screenshots: Path | None) -> Iterator[str]:
    """What is wrong with the pages in a browser: all from files, the first from a server too."""
    chromium = os.environ.get("CHROMIUM") or shutil.which("chromium")
    if chromium is None:
        raise SystemExit("chromium not found: install it, or name it in CHROMIUM")
    names = sorted(path.relative_to(site).as_posix() for path in site.rglob("*.html"))
    with sync_playwright() as playwright, served(site.parent) as address:
        # Pages of this site alone are opened, so root, as in a container, needs no sandbox.
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        for width, height in WIDTHS.items():
            page = browser.new_page(viewport={"width": width, "height": height})
            said: list[str] = []
            watch(page, said)
            urls = {name: (site / name).as_uri() for name in names}
            urls["served"] = f"{address}/{site.name}/"
            for name, url in urls.items():
                page.goto(url)
                if name in ("index.html", "served"):  # sends its readers on
                    page.wait_for_url("**/docs/book/index.html")
                yield from (f"{width}: {name}: {fault}" for fault in page_faults(page, name, width))
                yield from (f"{width}: {name}: {fault}" for fault in said)
                said.clear()
                if screenshots and name in PICTURED:
                    page.evaluate("scrollTo(0, 0)")
                    page.screenshot(path=screenshots / f"{Path(name).stem}-{width}.png")
        browser.close()


@contextlib.contextmanager
def served(folder: Path) -> Iterator[str]:
    """A folder on a local server, while the context lasts: its address."""
    handler = functools.partial(QuietHandler, directory=str(folder))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


class QuietHandler(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *said) -> None:
        pass


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--screenshots", type=Path, help="keep pictures of five pages there")
    parser.add_argument("--built", action="store_true", help="check what was built before")
    given = parser.parse_args()
    site = ROOT / "outputs" / "book"
    if given.screenshots:
        given.screenshots.mkdir(parents=True, exist_ok=True)
    if not given.built:
        shutil.rmtree(site, ignore_errors=True)
        if build(site, strict=True):
            sys.exit("the build failed")
    faults = 0
    for fault in itertools.chain(dead_links(site), browser_faults(site, given.screenshots)):
        faults += 1
        print(fault, flush=True)
    pages = len(list(site.rglob("*.html")))
    print(f"{pages} pages at {' and '.join(map(str, WIDTHS))} pixels: {faults} faults")
    sys.exit(bool(faults))
