"""Pages of the API, one for each public module: a hook of MkDocs.

A module's page holds its docstring and those of all that it defines. A
package's page also lists its modules and the names that it offers after
`import jaxseq`, with a link to where each is defined.
"""

from collections.abc import Iterator
import pathlib

import griffe
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File
from mkdocs.structure.files import Files

ROOT = pathlib.Path(__file__).resolve().parents[2]
_DOCSTRINGS = str(ROOT / "scripts" / "pages" / "docstrings.py")


def address(name: str, is_package: bool) -> str:
  """Returns the path below docs/ of the page of a module."""
  path = pathlib.PurePosixPath("api", *name.split(".")[1:])
  return str(path / "index.md" if is_package else path.with_suffix(".md"))


def modules(package: griffe.Module) -> Iterator[griffe.Module]:
  """Yields a package and all public modules below it."""
  yield package
  for _, module in sorted(package.modules.items()):
    if not module.is_alias and not module.name.startswith("_"):
      yield from modules(module)


def on_files(files: Files, config: MkDocsConfig) -> Files:
  """Adds a page for every public module, and notes what pages explain."""
  package = griffe.load(
    "jaxseq",
    search_paths=[ROOT],
    extensions=griffe.load_extensions(_DOCSTRINGS),
  )
  names = config.extra["api_names"] = {}
  for module in modules(package):
    names.update(_names(module))
    is_package = module.is_init_module
    files.append(
      File.generated(
        config,
        address(module.path, is_package),
        content=_package_page(module) if is_package else _page(module),
      )
    )
  return files


def _names(owner: griffe.Object) -> Iterator[tuple[str, str]]:
  """Yields the path of each name of a module or class, and where it is."""
  yield owner.path, owner.path
  for name, member in owner.members.items():
    if name.startswith("_"):
      continue
    if member.is_alias:
      if owner.is_module and member.target_path.startswith("jaxseq."):
        yield f"{owner.path}.{name}", member.target_path
    elif member.is_class:
      yield from _names(member)
    elif member.docstring and not member.is_module:
      yield member.path, member.path


def _page(module: griffe.Module) -> str:
  title = "API" if module.is_package else module.name
  return f"---\ntitle: {title}\n---\n\n::: {module.path}\n"


def _package_page(package: griffe.Module) -> str:
  """A package's docstring, what it defines, its modules and its names."""
  offered = {
    name: alias
    for name, alias in sorted(package.members.items())
    if alias.is_alias
    and not name.startswith("_")
    and alias.target_path.startswith("jaxseq.")
    and alias.target_path != f"{package.path}.{name}"
  }
  members = [
    name
    for name, member in package.members.items()
    if name in offered
    and "._" in offered[name].target_path
    or not (member.is_alias or member.is_module or name.startswith("_"))
  ]
  page = _page(package) + f"    options:\n      members: {members or 'false'}\n"
  if offered:
    page += "\n## Names\n\n| Name | What it is |\n| --- | --- |\n"
    for name, alias in offered.items():
      place = f"{package.path}.{name}" if name in members else _place(alias)
      page += f"| [`{name}`][{place}] | {_summary(alias)} |\n"
  below = [module for module in modules(package) if module.parent is package]
  if below:
    page += "\n## Modules\n\n| Module | What it holds |\n| --- | --- |\n"
    for module in below:
      page += f"| [`{module.name}`][{module.path}] | {_summary(module)} |\n"
  return page


def _place(alias: griffe.Alias) -> str:
  """What to link to: the module, of values that have no docstring."""
  target = alias.final_target
  return target.path if target.docstring else target.module.path


def _summary(named: griffe.Object | griffe.Alias) -> str:
  """The first paragraph of a docstring, as a cell of a table."""
  text = named.docstring.value if named.docstring else ""
  return " ".join(text.partition("\n\n")[0].split()).replace("|", "\\|")
