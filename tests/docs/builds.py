"""The built site, and what its files say of each other."""

from html import parser
import os
import pathlib
import subprocess
import sys
from urllib import parse

ROOT = pathlib.Path(__file__).resolve().parents[2]


def build(folder):
  """Builds the site into a folder; what MkDocs would warn of is an error."""
  result = subprocess.run(
    [sys.executable, "-m", "mkdocs", "build", "--strict", "-q", "-d", folder],
    cwd=ROOT,
    env={**os.environ, "NO_MKDOCS_2_WARNING": "1"},
    capture_output=True,
    text=True,
    timeout=600,
    check=False,
  )
  assert result.returncode == 0, result.stdout + result.stderr
  return folder


class Page(parser.HTMLParser):
  """Anchors of a page, and what it links to and loads."""

  def __init__(self, path):
    super().__init__()
    self.anchors = {""}
    self.links = set()
    self.loads = set()
    self.feed(path.read_text(encoding="utf-8"))

  def handle_starttag(self, tag, attrs):
    attrs = dict(attrs)
    self.anchors |= {attrs.get("id", ""), attrs.get("name", "")}
    if tag == "a" and attrs.get("href"):
      self.links.add(attrs["href"])
    elif tag == "link" and attrs.get("rel") != "canonical":
      self.loads.add(attrs["href"])
    elif attrs.get("src"):
      self.loads.add(attrs["src"])


def broken(folder):
  """Returns what links and loads of all pages lead nowhere.

  404.html has absolute paths, as a server shows it at any place.
  """
  pages = {path: Page(path) for path in sorted(folder.rglob("*.html"))}
  del pages[folder / "404.html"]
  found = []
  for path, page in pages.items():
    for link in page.links | page.loads:
      url = parse.urlsplit(link)
      if url.scheme or url.netloc:
        if link in page.loads and url.scheme != "data":
          found.append(f"{path.relative_to(folder)} loads {link}")
        continue
      target = (path.parent / parse.unquote(url.path)).resolve()
      target = target if url.path else path
      if not target.is_file():
        found.append(f"{path.relative_to(folder)}: {link}: no file")
      elif target in pages and (
        parse.unquote(url.fragment) not in pages[target].anchors
      ):
        found.append(f"{path.relative_to(folder)}: {link}: no anchor")
  return found
