"""Links that hold on GitHub as well as in the site: a hook of MkDocs.

Pages link to files of the repository by relative paths. What lies outside of
docs/ becomes a page: a public module that of the API, a notebook that of
`notebooks.py`, CONTRIBUTING.md and CHANGELOG.md themselves, and any other file
one with its text. Names in code, as `nn.StackConfig`, lead to the API (`api.py`
notes which there are).
"""

import pathlib
import posixpath
import re

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File
from mkdocs.structure.files import Files
from mkdocs.structure.files import InclusionLevel
from mkdocs.structure.pages import Page

ROOT = pathlib.Path(__file__).resolve().parents[2]

# Pages that lie at the root of the repository, by their names in the site.
_AT_ROOT = {
  "CHANGELOG.md": "changelog.md",
  "CONTRIBUTING.md": "contributing.md",
}
_LINK = re.compile(r"(?<=\]\()(?![a-z]+:|#)([^)\s#]+)")
_FENCED = re.compile(r"^```.*?^```", re.M | re.S)
_LANGUAGES = {".py": "python", ".sh": "sh", ".toml": "toml", ".txt": "text"}

_CODE = re.compile(r"<code>([A-Za-z]\w*(?:\.\w+)*)(?:\(\))?</code>")


def on_files(files: Files, config: MkDocsConfig) -> Files:
  """Adds the pages of the root and of all that pages link to."""
  for name, address in _AT_ROOT.items():
    text = (ROOT / name).read_text()
    files.append(File.generated(config, address, content=text))
  for page in list(files.documentation_pages()):
    for path in _LINK.findall(_FENCED.sub("", page.content_string)):
      target = _resolve(page.src_uri, path)
      address = _address(target)
      if files.get_file_from_path(address) is None and _is_text(target):
        files.append(
          File.generated(
            config,
            address,
            content=_source_page(target),
            inclusion=InclusionLevel.NOT_IN_NAV,
          )
        )
  return files


def on_page_markdown(
  markdown: str, page: Page, config: MkDocsConfig, files: Files
) -> str:
  """Turns links to files of the repository into links to pages."""
  del config
  path = page.file.src_uri

  def replace(match):
    address = _address(_resolve(path, match[1]))
    if files.get_file_from_path(address) is None:
      return match[1]  # MkDocs says that it leads nowhere.
    return posixpath.relpath(address, posixpath.dirname(path) or ".")

  parts = re.split(rf"({_FENCED.pattern})", markdown, flags=re.M | re.S)
  return "".join(
    part if part.startswith("```") else _LINK.sub(replace, part)
    for part in parts
  )


def on_page_content(
  html: str, page: Page, config: MkDocsConfig, files: Files
) -> str:
  """Makes code that names something of jaxseq a link to it, if it is there."""
  del files
  scopes = ["jaxseq"]
  if page.file.src_uri.startswith("api/"):
    module = page.file.src_uri.removesuffix(".md").removesuffix("/index")
    parts = ["jaxseq", *module.split("/")[1:]]
    scopes = [".".join(parts[:end]) for end in range(len(parts), 0, -1)]

  def link(match):
    name = match[1]
    if not re.search("[._A-Z]", name):
      return match[0]  # More often an argument than a function.
    paths = [name, *(f"{scope}.{name}" for scope in scopes)]
    places = config.extra["api_names"]
    found = next((places[path] for path in paths if path in places), None)
    if found is None:
      return match[0]
    return f'<autoref identifier="{found}" optional>{match[0]}</autoref>'

  # No link inside of a link or of a heading, and none of a parameter's name.
  parts = re.split(r"(<(a|autoref|h\d|pre|b)\b.*?</\2>)", html, flags=re.S)
  return "".join(
    _CODE.sub(link, part) if index % 3 == 0 else part
    for index, part in enumerate(parts)
    if index % 3 != 2
  )


def _resolve(page: str, path: str) -> str:
  """The path in the repository of what a page links to."""
  if page in _AT_ROOT.values():
    return posixpath.normpath(path)
  return posixpath.normpath(
    posixpath.join("docs", posixpath.dirname(page), path)
  )


def _address(target: str) -> str:
  """The page or file of the site for a path in the repository."""
  path = pathlib.PurePosixPath(target)
  if target in _AT_ROOT:
    return _AT_ROOT[target]
  if target.startswith("docs/"):
    return target.removeprefix("docs/")
  if path.parts[0] == "jaxseq" and path.suffix == ".py":
    names = path.with_suffix("").parts[1:]
    if names[-1] == "__init__":
      return posixpath.join("api", *names[:-1], "index.md")
    if not any(name.startswith("_") for name in names):
      return posixpath.join("api", *names) + ".md"
  if path.suffix == ".ipynb":
    return f"notebooks/{path.stem}.md"
  return f"source/{target}.md"


def _is_text(target: str) -> bool:
  path = ROOT / target
  return (
    _address(target).startswith("source/")
    and path.is_relative_to(ROOT)
    and path.is_file()
  )


def _source_page(target: str) -> str:
  """A page with the text of a file."""
  path = ROOT / target
  text = path.read_text()
  head = "---\nsearch:\n  exclude: true\n---\n\n"
  if path.suffix == ".md":
    return head + text
  language = _LANGUAGES.get(path.suffix, "text")
  return f"{head}# {target}\n\n````{language}\n{text.rstrip()}\n````\n"
