"""The pages in a real browser: no text of the data does anything, and everyone can read them."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass, field
from importlib.util import find_spec
from io import StringIO
from itertools import product
from pathlib import Path
from time import monotonic

import pytest

import bucket_rollouts_by_difficulty
import preprocess_bucketed_rollouts
from examples import generate_rollouts
from tests.helpers.browser import Browser, Site, needs_browser, serve, started
from tests.helpers.rollouts import DATA, needs_data
from tests.pages import hostile

pytestmark = [pytest.mark.slow, needs_browser]
needs_axe = pytest.mark.skipif(
    not find_spec("selenium_axe_python"), reason="axe is not here: see `make test-browser`"
)
NARROW, WIDE, A4 = 390, 1280, 717  # CSS pixels; of A4 those between the margins
OWN_NAMES = {
    "a", "bdi", "body", "br", "caption", "details", "div", "figcaption", "figure", "footer", "h1",
    "h2", "h3", "head", "header", "html", "li", "line", "link", "main", "meta", "nav", "p",
    "polyline", "pre", "rect", "span", "style", "summary", "svg", "table", "tbody", "td", "text",
    "th", "thead", "title", "tr", "ul",
}  # fmt: skip
OWN_ATTRIBUTES = {
    "aria-hidden", "aria-label", "charset", "class", "content", "dir", "fill", "height", "href",
    "http-equiv", "id", "lang", "name", "open", "points", "preserveAspectRatio", "rel", "role",
    "scope", "tabindex", "text-anchor", "title", "viewBox", "width", "x", "x1", "x2", "y", "y1",
    "y2",
}  # fmt: skip
UNSEEN = {*"\u202e\u2066\u2069\u200b\ufeff\u00ad\u2060\u3164\0\x1b\x07\x7f\x85\ue000"}


@dataclass
class Pages:
    """A place to make pages in, which is served, and a server that nothing may ask."""

    site: Site
    trap: Site
    made: dict[str, str] = field(default_factory=dict)

    @property
    def directory(self) -> Path:
        return self.site.directory

    def url(self, name: str) -> str:
        """The address of a page, which is made if it is not there yet."""
        if name not in self.made:
            with pytest.MonkeyPatch.context() as patch:
                patch.chdir(self.directory)
                patch.setattr("curriculum.statistics.more_responses.NUMBERS", 1_000)
                MAKERS[name](self)
            self.made[name] = f"{self.site.address}/{name}.html"
        return self.made[name]

    def source(self, name: str) -> str:
        self.url(name)
        return (self.directory / f"{name}.html").read_text("utf-8")

    def bucket(self, name: str, *arguments: object) -> None:
        flags = ("-o", f"b-{name}", "--report", f"{name}.html", "--workers", 1, "--quiet")
        quietly(bucket_rollouts_by_difficulty.main, *arguments, *flags)

    def preprocess(self, name: str, *arguments: object) -> None:
        flags = ("-o", f"s-{name}", "--report", f"{name}.html", "--workers", 1, "--quiet")
        quietly(preprocess_bucketed_rollouts.main, *arguments, *flags)


def quietly(main: Callable[[list[str]], int], *arguments: object) -> None:
    out = StringIO()
    with redirect_stdout(out), redirect_stderr(out):
        code = main([str(argument) for argument in arguments])
    assert code == 0, out.getvalue()


def _hostile(pages: Pages) -> None:
    hostile.write(pages.directory, pages.trap.address)
    flags = ("--compare-metrics", "--bucket-names", *hostile.NAMES)
    pages.bucket("hostile", "-i", hostile.FILE, *flags)


def _hostile_field(pages: Pages) -> None:
    pages.url("hostile")
    flags = ("--format", "custom", "--value-field", hostile.VALUE, "--value-direction", "harder")
    pages.bucket("hostile-field", "-i", hostile.FILE, *flags, "-n", 8)


def _hostile_sets(pages: Pages) -> None:
    pages.url("hostile")
    pages.preprocess("hostile-sets", "-i", "b-hostile", "--keep-data-source")


def _sample(pages: Pages) -> None:
    quietly(generate_rollouts.main, "-o", "rollouts")
    pages.bucket("sample", "-i", "rollouts", "--compare-metrics")


def _sample_change(pages: Pages) -> None:
    pages.url("sample")
    flags = ("-m", "success_rate", "-n", 6, "--solved-unsolved", "--keep", "num != 3")
    pages.bucket("sample-change", "-i", "rollouts", *flags, "--compare-to", "b-sample")


def _sample_sets(pages: Pages) -> None:
    pages.url("sample")
    flags = ("--combine", "--schedule", "linear", "--batch-size", 8)
    pages.preprocess("sample-sets", "-i", "b-sample", *flags)


def _real(name: str) -> Callable[[Pages], None]:
    return lambda pages: pages.bucket(name, "-i", next(DATA.glob(f"*/{name}.jsonl")))


HOSTILE = ("hostile", "hostile-field", "hostile-sets")
SAMPLE = ("sample", "sample-change", "sample-sets")
REAL = ("gsm8k_mixed6", "mifeval_es_fr_ja", "nemo_gym_rollouts_raw")
MAKERS: dict[str, Callable[[Pages], None]] = {
    "hostile": _hostile,
    "hostile-field": _hostile_field,
    "hostile-sets": _hostile_sets,
    "sample": _sample,
    "sample-change": _sample_change,
    "sample-sets": _sample_sets,
    **{name: _real(name) for name in REAL},
}
every_page = pytest.mark.parametrize(
    "name", [*HOSTILE, *SAMPLE, *(pytest.param(name, marks=needs_data) for name in REAL)]
)


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pages]:
    nothing = tmp_path_factory.mktemp("trap")
    with serve(tmp_path_factory.mktemp("pages")) as site, serve(nothing) as trap:
        yield Pages(site, trap)


@pytest.fixture(scope="module")
def chromium(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    with started(tmp_path_factory.mktemp("profile")) as browser:
        browser.load(Path(__file__).with_name("checks.js"))
        yield browser


@pytest.fixture
def browser(chromium: Browser, pages: Pages) -> Iterator[Browser]:
    """The browser; nothing asks the trap for anything."""
    pages.trap.requests.clear()
    yield chromium
    assert pages.trap.requests == []


# What a page may do.


@every_page
def test_a_page_does_nothing(pages: Pages, browser: Browser, name: str) -> None:
    does_nothing(pages, browser, name, policy=True)


@pytest.mark.parametrize("name", HOSTILE)
def test_a_page_does_nothing_without_its_policy(pages: Pages, browser: Browser, name: str) -> None:
    """The policy is a second wall, not the only one."""
    does_nothing(pages, browser, name, policy=False)


def does_nothing(pages: Pages, browser: Browser, name: str, policy: bool) -> None:
    url = pages.url(name)
    titled = re.findall("<title>(.*?)</title>", pages.source(name))[0]
    pages.site.requests.clear()
    browser.show(url, policy=policy)
    browser.run("open", True)
    browser.js(
        "for (const e of document.querySelectorAll('*')) e.dispatchEvent(new Event('focus'))"
    )
    assert browser.js("return [window.ran ?? null, frames.length, document.compatMode]") == [
        None, 0, "CSS1Compat",
    ]  # fmt: skip
    assert browser.js("const t = document.createElement('textarea'); t.innerHTML = arguments[0];"
                      "return t.value === document.title", titled)  # fmt: skip
    asked = browser.events()
    sent = [what["request"]["url"] for event, what in asked if event == "Network.requestWillBeSent"]
    own = ("data:", "chrome://", "chrome-untrusted://")  # the first page of the browser itself
    assert [address for address in sent if not address.startswith(own)] == [url]
    assert pages.site.requests == [url.removeprefix(pages.site.address)]
    assert "Page.javascriptDialogOpening" not in {event for event, _ in asked}
    assert browser.driver.current_url == url
    assert browser.complaints() == []
    assert (pages.directory / f"{name}.html").stat().st_size < 3_000_000


@every_page
def test_a_page_has_its_own_elements_only(pages: Pages, browser: Browser, name: str) -> None:
    browser.show(pages.url(name))
    names, attributes = browser.run("names")
    assert {*names} <= OWN_NAMES
    assert {*attributes} <= OWN_ATTRIBUTES
    counts = Counter(names)
    once = ("html", "head", "body", "link", "style", "main", "header", "nav", "footer", "h1")
    assert {one: counts[one] for one in (*once, "meta")} == {**dict.fromkeys(once, 1), "meta": 5}
    assert browser.js("return [...document.links].filter(a => !a.matches('[href^=\"#\"]'))") == []


@pytest.mark.parametrize("name", HOSTILE)
def test_nothing_is_hidden(pages: Pages, browser: Browser, name: str) -> None:
    browser.show(pages.url(name))
    assert not UNSEEN & {*browser.run("everything")}


def test_texts_are_shown_as_they_are(pages: Pages, browser: Browser) -> None:
    browser.show(pages.url("hostile"))
    each = hostile.texts(pages.trap.address)
    _, whole = hostile.everything(pages.trap.address)
    _, line = hostile.long_line()
    shown = browser.js("return [...document.querySelectorAll('pre')].map(e => e.textContent)")
    prompt = re.sub(r"U\+D[8C]00", "\ufffd", whole)  # all that a prompt is read for has it so
    assert {*shown} - {*each.values()} == {whole, prompt, line}
    assert len({*shown} & {*each.values()}) > 10

    def in_cells(selector: str) -> list[str]:
        script = "return [...document.querySelectorAll(arguments[0])].map(e => e.textContent)"
        return [text.strip() for text in browser.js(script, selector)]

    assert in_cells("#buckets + .wide tbody th") == [*hostile.NAMES]
    assert [text.partition(": ")[0] for text in in_cells("#rollouts ~ h3")] == [*hostile.NAMES]
    assert {*in_cells("summary .tag")} == {*hostile.NAMES}
    assert {text.rpartition(":")[0] for text in in_cells("summary .where")} == {hostile.FILE_SHOWN}
    assert in_cells("h1")[0].startswith("<iframe srcdoc=a>{{7+7}}")
    groups = {*in_cells("#groups + .wide tbody th")}
    short = {text for text in each.values() if len(text) < 50}
    assert short - groups == set()
    keys = re.findall("· key (.*)", "\n".join(in_cells("summary")))
    assert len(keys) > 10
    for key in keys:
        assert any(key.startswith(text[:100]) for text in each.values()), key


# The policy of a page.

# What somebody who can write into the page would write, and what shows that it worked.
INTRUDERS = {
    "<script>window.ran = 1</script>": "window.ran === 1",
    "<script src=TRAP/script></script>": "",
    "<img src=x onerror='window.ran = 1'>": "window.ran === 1",
    "<p id=intruder style='position: fixed'>": "getComputedStyle(intruder).position === 'fixed'",
    "<style>main { position: fixed }</style>": "getComputedStyle(content).position === 'fixed'",
    "<link rel=stylesheet href=TRAP/sheet>": "",
    "<img src=TRAP/img>": "",
    "<iframe src=TRAP/frame></iframe>": "",
    "<object data=TRAP/object></object>": "",
    "<video src=TRAP/video autoplay muted></video>": "",
    "<base href=TRAP/base/>": "new URL('a', document.baseURI).pathname === '/base/a'",
    "<form action=TRAP/form></form>": "",
    "<a id=intruder href='javascript:void(window.ran = 1)'>a</a>": "window.ran === 1",
}  # fmt: skip


@pytest.mark.parametrize("policy", [True, False], ids=["policy", "no policy"])
@pytest.mark.parametrize("intruder", INTRUDERS)
def test_the_policy_is_in_force(
    pages: Pages, chromium: Browser, intruder: str, policy: bool
) -> None:
    """It stops what works in a browser that does not heed it."""
    body = intruder.replace("TRAP", pages.trap.address)
    copy = pages.source("sample").replace("</header>", body + "</header>")
    (pages.directory / "copy.html").write_text(copy, "utf-8")
    pages.trap.requests.clear()
    chromium.show(f"{pages.site.address}/copy.html", policy=policy)
    chromium.js("document.querySelector('a#intruder')?.click(); document.forms[0]?.submit()")
    happened, refused, until = False, False, monotonic() + 5
    while not happened and not refused and monotonic() < until:
        shown = INTRUDERS[intruder] and chromium.js(f"return {INTRUDERS[intruder]}")
        happened = bool(shown or pages.trap.requests)
        refused = any("Content Security Policy" in text for text in chromium.complaints())
    chromium.show("about:blank")
    assert (happened, refused) == (not policy, policy)


# Whether everyone can read it.


@every_page
def test_a_page_has_a_structure(pages: Pages, browser: Browser, name: str) -> None:
    browser.show(pages.url(name))
    assert browser.run("structure") == []


@needs_axe
@every_page
def test_axe_finds_nothing(pages: Pages, browser: Browser, name: str) -> None:
    import selenium_axe_python

    browser.show(pages.url(name))
    browser.run("open", True)
    where = Path(selenium_axe_python.__file__).parent / "axe-core/axe.min.js"
    browser.js(where.read_text("utf-8"))
    # Contrast takes most of the time, and has its own test.
    rules = {"color-contrast": {"enabled": name == "sample"}}
    found = browser.js("return axe.run({resultTypes: ['violations'], rules: arguments[0]})", rules)
    assert len(found["passes"]) > 20
    assert [
        (one["id"], node["html"][:200], node["failureSummary"])
        for one in found["violations"]
        for node in one["nodes"]
    ] == []


@every_page
def test_every_text_has_contrast(pages: Pages, browser: Browser, name: str) -> None:
    browser.show(pages.url(name))
    browser.run("open", True)
    papers = []
    for scheme, media in product(("light", "dark"), ("screen", "print")):
        browser.emulate(scheme, media)
        assert browser.run("contrast", 4.5) == [], (scheme, media)
        papers.append(browser.js("return getComputedStyle(document.body).backgroundColor"))
    light, paper, dark, still_paper = papers
    assert light == paper == still_paper != dark


@every_page
def test_nothing_is_wider_than_the_window(pages: Pages, browser: Browser, name: str) -> None:
    """With letters of twice the size neither, nor on paper."""
    browser.show(pages.url(name))
    browser.run("open", True)
    for width, size in ((320, 100), *product((NARROW, WIDE), (100, 200))):
        browser.resize(width)
        browser.js("document.documentElement.style.fontSize = arguments[0] + '%'", size)
        assert browser.run("overflow") == [], (width, size)
    browser.js("document.documentElement.style.fontSize = ''")
    browser.resize(A4)
    browser.emulate(media="print")
    assert browser.run("overflow") == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [NARROW, WIDE])
def test_tab_reaches_everything(pages: Pages, browser: Browser, width: int, scheme: str) -> None:
    from selenium.webdriver.common.keys import Keys

    browser.show(pages.url("sample"), width=width, scheme=scheme)
    names = browser.run("reachable")
    assert len(names) > 30
    for number, name in enumerate(names):
        browser.press(Keys.TAB)
        assert browser.run("focused") == [number, True, True], name


def test_details_open_by_enter(pages: Pages, browser: Browser) -> None:
    from selenium.webdriver.common.keys import Keys

    browser.show(pages.url("sample"))
    browser.js("document.querySelector('#rollouts ~ details > summary').focus()")
    seen = "return document.querySelector('#rollouts ~ details pre').checkVisibility()"
    found = [browser.js(seen)]
    for key in (Keys.ENTER, Keys.SPACE, Keys.ENTER):
        browser.press(key)
        found.append(browser.js(seen))
    assert found == [False, True, False, True]


def test_the_skip_link_leads_to_the_content(pages: Pages, browser: Browser) -> None:
    from selenium.webdriver.common.keys import Keys

    browser.show(pages.url("sample"))
    where = "return document.querySelector('.skip').getBoundingClientRect().right > 0"
    seen = [browser.js(where)]
    browser.press(Keys.TAB)
    seen.append(browser.js(where))
    assert seen == [False, True]
    browser.press(Keys.ENTER)
    browser.press(Keys.TAB)
    script = (
        "return [location.hash, document.querySelector('main').contains(document.activeElement)]"
    )
    assert browser.js(script) == ["#content", True]


# On paper.


def test_closed_details_are_printed(pages: Pages, browser: Browser) -> None:
    browser.show(pages.url("sample"))
    unseen = "return [...document.querySelectorAll('pre')].filter(e => !e.checkVisibility()).length"
    every = browser.js("return document.querySelectorAll('pre').length")
    assert (browser.js(unseen), every > 20) == (every, True)
    browser.emulate(media="print")
    assert browser.js(unseen) == 0
    closed = browser.pdf()
    browser.run("open", True)
    sheets = [pdf.count(b"/Type /Page\n") for pdf in (closed, browser.pdf())]
    assert sheets[0] == sheets[1] > 5
    assert closed.startswith(b"%PDF")
