"""The public names of the package: offered lazily, complete, as documented."""

import ast
import importlib
import pathlib
import re
import sys

import pytest

import jaxseq
from jaxseq import _lazy
from scripts import public_names
from tests import programs

ROOT = pathlib.Path(__file__).resolve().parents[1]
PACKAGES = [
  ".".join(path.parent.relative_to(ROOT).parts)
  for path in sorted((ROOT / "jaxseq").rglob("__init__.py"))
  if not any(part.startswith("_") for part in path.parent.parts)
]
# A name that the text of the project gives to something of the package.
MENTION = re.compile(r"\bjaxseq(?:\.[A-Za-z_]\w*)+(?![\w/])")


def modules_of(package):
  """Names of the public modules and packages in a package."""
  folder = ROOT.joinpath(*package.split("."))
  return {
    path.stem
    for path in folder.iterdir()
    if not path.name.startswith("_")
    and (path.suffix == ".py" or (path / "__init__.py").exists())
  }


def resolve(name):
  """Follows a dotted name by attributes, from `import jaxseq` alone."""
  found = jaxseq
  for part in name.split(".")[1:]:
    found = getattr(found, part)
  return found


@pytest.fixture
def example(tmp_path, monkeypatch):
  """A package with two modules, of which one cannot be imported."""
  folder = tmp_path / "lazy_example"
  folder.mkdir()
  (folder / "__init__.py").write_text(
    "from typing import TYPE_CHECKING\n"
    "from jaxseq import _lazy\n"
    "if TYPE_CHECKING:\n"
    "  from lazy_example import broken as broken\n"
    "  from lazy_example import words as words\n"
    "  from lazy_example.words import greet as greet\n"
    "else:\n"
    "  __getattr__, __dir__, __all__ = _lazy.attach(__name__)\n"
  )
  (folder / "words.py").write_text("def greet():\n  return 'hello'\n")
  (folder / "broken.py").write_text("import a_package_that_is_not_there\n")
  monkeypatch.syspath_prepend(str(tmp_path))
  yield importlib.import_module("lazy_example")
  for name in [name for name in sys.modules if name.startswith("lazy_ex")]:
    del sys.modules[name]


def test_names_are_imported_when_they_are_used(example):
  assert dir(example) == example.__all__ == ["broken", "greet", "words"]
  assert "lazy_example.words" not in sys.modules
  assert example.greet() == "hello"
  assert example.words.greet is example.greet


def test_modules_need_no_line(example):
  folder = pathlib.Path(example.__path__[0])
  (folder / "later.py").write_text("answer = 42\n")
  (folder / "_hidden.py").write_text("")
  get_attribute, _, offered = _lazy.attach("lazy_example")
  assert offered == ["broken", "greet", "later", "words"]
  importlib.invalidate_caches()
  assert get_attribute("later").answer == 42


def test_names_follow_their_module(example, monkeypatch):
  monkeypatch.setattr(example.words, "greet", lambda: "good evening")
  assert example.greet() == "good evening"


def test_what_a_module_lacks_is_said(example):
  with pytest.raises(ModuleNotFoundError, match="a_package_that_is_not"):
    _ = example.broken
  with pytest.raises(AttributeError, match="'lazy_example' has no attribute"):
    _ = example.absent


def test_a_package_without_a_block_offers_nothing():
  names = _lazy.attach("jaxseq._lazy")
  assert names[1]() == names[2] == []


@pytest.mark.parametrize("package", PACKAGES)
def test_packages_offer_their_public_modules_and_names(package):
  offered = resolve(package).__all__
  assert modules_of(package) <= set(offered)
  for name in offered:
    found = resolve(f"{package}.{name}")
    if name in modules_of(package):
      # Nothing else has the name of a module: importing it would hide it.
      assert found is sys.modules[f"{package}.{name}"]


@pytest.mark.parametrize("package", PACKAGES)
def test_packages_hold_nothing_but_names(package):
  path = ROOT.joinpath(*package.split("."), "__init__.py")
  docstring, *body = ast.parse(path.read_text()).body
  assert isinstance(docstring, ast.Expr)
  for node in body:
    assert isinstance(node, ast.ImportFrom | ast.If) or (
      ast.unparse(node).startswith("__version__ = ")
    ), f"{path}, line {node.lineno}: this belongs into a module"


@pytest.mark.parametrize(
  "path", public_names.faces(), ids=lambda path: path.parent.name
)
def test_typed_halves_are_those_of_the_script(path):
  if path.read_text() != public_names.completed(path):
    pytest.fail(f"{path}: run `python -m scripts.public_names`", pytrace=False)


def test_the_script_prints_what_it_offers_and_what_not(
  tmp_path, monkeypatch, capsys
):
  monkeypatch.setattr(public_names, "ROOT", tmp_path)
  package = tmp_path / "jaxseq"
  package.mkdir()
  (package / "__init__.py").write_text(
    "if TYPE_CHECKING:\n  from jaxseq import old as old\nelse:\n"
    "  __getattr__, __dir__, __all__ = _lazy.attach(__name__)\n"
  )
  (package / "prices.py").write_text("class Prices: ...\nclass _Own: ...\n")
  public_names.main()
  told = capsys.readouterr().out
  assert "offers prices\n" in told
  assert "no longer offers old\n" in told
  assert "from jaxseq.prices import Prices as Prices\n" in told
  assert "_Own" not in told
  public_names.main()
  assert "All public modules are offered" in capsys.readouterr().out


def test_importing_the_package_loads_nothing_else():
  code = (
    "import sys; before = set(sys.modules); import jaxseq; "
    "print(sorted(name for name in set(sys.modules) - before "
    "if name.split('.')[0] not in sys.stdlib_module_names))"
  )
  result = programs.run("-c", code)
  assert result.stdout == "['jaxseq', 'jaxseq._lazy']\n", result.stderr


def test_names_in_the_documents_exist():
  documents = [
    *ROOT.glob("*.md"),
    *(ROOT / "docs").rglob("*.md"),
    *(ROOT / "jaxseq").rglob("*.py"),
  ]
  wrong = []
  for path in documents:
    # The table of names of before is in CHANGELOG.md.
    if path.name == "CHANGELOG.md":
      continue
    names = set(MENTION.findall(path.read_text()))
    for name in sorted(name for name in names if "._" not in name):
      try:
        resolve(name)
      except AttributeError as error:
        wrong.append(f"{path.relative_to(ROOT)}: {name}: {error}")
  assert not wrong, "\n".join(wrong)
