"""The built site in a browser: pages, colors, widths and search."""

import pytest

from tests.docs import builds
from tests.docs import headless

pytestmark = [
  pytest.mark.site,
  # Building it and opening its pages takes minutes on a busy machine.
  pytest.mark.timeout(900),
  pytest.mark.skipif(
    headless.find() is None,
    reason="There is no Chromium: install it (apt-get install chromium), or "
    "name one in BROWSER_PATH.",
  ),
]


@pytest.fixture(scope="module")
def site(tmp_path_factory):
  return builds.build(tmp_path_factory.mktemp("site"))


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
  browser = headless.Browser(tmp_path_factory.mktemp("profile"))
  yield browser
  browser.close()


def pages(site):
  """All pages but most of the API's, which come from one template."""
  for path in sorted(site.rglob("*.html")):
    place = str(path.relative_to(site))
    # A server shows 404.html at any place: its paths are absolute.
    if place != "404.html" and not place.startswith(("api/", "source/")):
      yield path
  yield site / "api" / "index.html"
  yield from sorted((site / "api" / "recurrence").glob("*.html"))


@pytest.mark.parametrize("width", [1280, 390])
@pytest.mark.parametrize("dark", [False, True])
def test_pages_open_without_complaints_and_fit(site, browser, width, dark):
  browser.complaints.clear()
  opened = 0
  for path in pages(site):
    browser.show(path, width=width, dark=dark)
    name = f"{path.relative_to(site)} at {width}"
    assert browser.complaints == [], name
    # What is too wide scrolls in its own box.
    assert browser.evaluate("document.documentElement.scrollWidth") <= width, (
      name
    )
    scheme = browser.evaluate("document.body.dataset.mdColorScheme")
    assert scheme == ("slate" if dark else "default"), name
    assert browser.evaluate(
      "[...document.images].every(i => i.complete && i.naturalWidth > 0)"
    ), name
    opened += 1
  assert opened > 40


def test_search_finds_names_without_a_server(site, browser):
  browser.complaints.clear()
  browser.show(site / "index.html")
  browser.type(".md-search__input", "linear_scan")
  anchor = "#jaxseq.recurrence.linear.linear.linear_scan"
  browser.wait(
    "[...document.querySelectorAll('.md-search-result__link')].some("
    f"link => link.hash === '{anchor}')"
  )
  assert browser.complaints == []


def test_the_toggle_changes_the_colors(site, browser):
  browser.show(site / "index.html", dark=True)
  scheme = "document.body.dataset.mdColorScheme"
  assert browser.evaluate(scheme) == "slate"
  browser.evaluate(
    "document.querySelector('label[for=__palette_1]:not([hidden])').click()"
  )
  browser.wait(f"{scheme} === 'default'")
