"""The language of the package: docstrings, names of modules, spelling."""

import ast
import collections
import functools
import pathlib
import re

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[1]


@functools.cache
def sources():
  """Returns the trees of all modules, by their paths."""
  return {
    path.relative_to(ROOT): ast.parse(path.read_text())
    for path in sorted((ROOT / "jaxseq").rglob("*.py"))
  }


# A docstring that begins so does not name what it is about.
SUBORDINATE = re.compile(
  r"(What|How|Which|Where|When|Whether|From|Why|Who|If|That|Of|Those|As)\b"
)
# A formula is no sentence, and its first letter is a name.
FORMULA = re.compile(r"\S+ [-+*/=] ")
# Names that say nothing of what they hold.
VAGUE = {"anything", "now", "told", "whether"}
# Stems of British spellings; names are American.
BRITISH = re.compile(
  "(analys|categoris|discretis|factoris|generalis|initialis|marginalis|maximis|"
  "minimis|normalis|optimis|organis|parameteris|penalis|quantis|randomis|"
  "regularis|serialis|specialis|standardis|summaris|synchronis|tokenis|"
  "vectoris|visualis)(e|ed|er|es|ing|ation)|"
  "behaviour|centre|colour|favour|grey|labell|licence|modell|neighbour",
  re.IGNORECASE,
)


def named(tree):
  """Yields every name that a module gives, with its line."""
  for node in ast.walk(tree):
    if isinstance(node, ast.FunctionDef | ast.ClassDef):
      yield node.name, node.lineno
    elif isinstance(node, ast.arg):
      yield node.arg, node.lineno
    elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
      yield node.id, node.lineno
    elif isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store):
      yield node.attr, node.lineno
    elif isinstance(node, ast.alias) and node.asname:
      yield node.asname, node.lineno


def private_functions(tree, private=False):
  """Yields the functions that are not public, and all within them."""
  for node in ast.iter_child_nodes(tree):
    hidden = private
    if isinstance(node, ast.FunctionDef | ast.ClassDef):
      hidden |= node.name.startswith("_") and not node.name.endswith("__")
      if hidden and isinstance(node, ast.FunctionDef):
        yield node
    yield from private_functions(node, hidden)


def test_what_the_checks_look_for_they_find():
  tree = ast.parse(
    "import a as mesh_lib\n"
    "def _f(colour):\n"
    "  def g(): self.normaliser = now = 1\n"
    "class A:\n"
    "  def __init__(self): pass\n"
  )
  names = dict(named(tree))
  assert {name for name in names if BRITISH.search(name)} == {
    "colour",
    "normaliser",
  }
  assert set(names) & VAGUE == {"now"}
  assert "mesh_lib" in names
  assert [node.name for node in private_functions(tree)] == ["_f", "g"]
  assert SUBORDINATE.match("Of a chunk.")
  assert not SUBORDINATE.match("Office hours.")
  assert FORMULA.match("H_t = a_t h_{t-1} + b_t.")
  assert not FORMULA.match("The state h = a h + b.")


def test_docstrings_of_modules_say_what_the_module_is():
  wrong = [
    f"{path}: {ast.get_docstring(tree).splitlines()[0]}"
    for path, tree in sources().items()
    if SUBORDINATE.match(ast.get_docstring(tree))
  ]
  assert not wrong, "\n".join(wrong)


def test_docstrings_of_functions_and_classes_name_what_they_are_about():
  wrong = [
    f"{path}:{node.lineno}: {words.splitlines()[0]}"
    for path, tree in sources().items()
    for node in ast.walk(tree)
    if isinstance(node, ast.FunctionDef | ast.ClassDef)
    and (words := ast.get_docstring(node))
    and (SUBORDINATE.match(words) or FORMULA.match(words))
  ]
  assert not wrong, "\n".join(wrong)


def test_docstrings_of_private_functions_are_one_sentence():
  wrong = [
    f"{path}:{node.lineno}: {node.name}"
    for path, tree in sources().items()
    for node in private_functions(tree)
    if "\n" in (ast.get_docstring(node) or "")
  ]
  assert not wrong, "\n".join(wrong)


# One thing, in several packages: names for entries, a base to derive from, what
# is made ready beforehand.
SHARED = {"base", "preparation", "registry"}
# A kind of data has the name that its data sets and its task have.
KINDS = pathlib.PurePath("jaxseq/data/sources")
# A program has the name of its line of work.
PROGRAMS = pathlib.PurePath("jaxseq/programs")
# Each line of work has a folder, with the same names for the same parts.
TASKS = pathlib.PurePath("jaxseq/tasks")
PARTS = {
  *("task", "arms", "network", "answers"),
  *("baselines", "metrics", "figures"),
}
# The kernels of each operation have the names of their chips.
KERNELS = pathlib.PurePath("jaxseq/kernels")


def test_no_two_modules_share_a_name():
  paths = collections.defaultdict(list)
  for path in sources():
    if path.stem in {"__init__", *SHARED} or path.parent in (KINDS, PROGRAMS):
      continue
    if path.parent.parent == TASKS and path.stem in PARTS:
      continue
    if KERNELS not in path.parents:
      paths[path.stem].append(str(path))
  wrong = [found for found in paths.values() if len(found) > 1]
  assert not wrong, "\n".join(map(" ".join, wrong))


@pytest.mark.parametrize(
  "path", ["jaxseq", "experiments", "benchmarks", "colabs", "tests"]
)
def test_modules_keep_their_names_when_imported(path):
  wrong = [
    f"{file.relative_to(ROOT)}: {name}"
    for file in sorted((ROOT / path).rglob("*.py"))
    for name in re.findall(
      r"^ *(?:from|import) .* as (\w+_lib)\b", file.read_text(), re.M
    )
  ]
  assert not wrong, "\n".join(wrong)


def test_names_say_what_they_hold_in_american_spelling():
  wrong = [
    f"{path}:{line}: {name}"
    for path, tree in sources().items()
    for name, line in [(path.stem, 1), *named(tree)]
    if name in VAGUE or BRITISH.search(name)
  ]
  assert not wrong, "\n".join(wrong)


def test_private_functions_have_one_line_of_docstring():
  wrong = [
    f"{path}:{node.lineno}: {node.name}"
    for path, tree in sources().items()
    for node in private_functions(tree)
    if re.search(r"^\s*(Args|Returns):", ast.get_docstring(node) or "", re.M)
  ]
  assert not wrong, "\n".join(wrong)


# Titles of papers, and names of others' code.
AS_WRITTEN = re.compile(
  "Behaviour Suite for|by Factorising|tree_serialise_leaves|"
  "tree_deserialise_leaves"
)


@pytest.mark.parametrize("folder", ["jaxseq", "docs", "configs", "experiments"])
def test_texts_are_spelled_as_names_are(folder):
  paths = [
    path
    for path in sorted((ROOT / folder).rglob("*"))
    if path.suffix in {".py", ".md"}
  ]
  wrong = [
    f"{path.relative_to(ROOT)}:{number}: {found.group()}"
    for path in paths
    for number, line in enumerate(path.read_text().splitlines(), 1)
    if (found := BRITISH.search(AS_WRITTEN.sub("", line)))
  ]
  assert paths
  assert not wrong, "\n".join(wrong)
