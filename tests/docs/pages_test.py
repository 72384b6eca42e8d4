"""What the pages say can be typed, works."""

import importlib.util
import os
import pathlib
import re

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
HERE = pathlib.Path(__file__).parent
PAGES = {
  str(path.relative_to(ROOT)): path.read_text(encoding="utf-8")
  for path in [
    *sorted(ROOT.glob("[CR]*.md")),
    *sorted((ROOT / "docs").rglob("*.md")),
  ]
  if path.name != "CHANGELOG.md"
}
_NOT_RUN = re.compile(r"# Not run here: needs [^\n]+\.\n")


def blocks(text):
  """The blocks of Python of a page, without those that say they are not run."""
  found = re.findall(r"^```python\n(.*?)^```", text, re.M | re.S)
  return [block for block in found if not _NOT_RUN.match(block)]


def has_own_test(name):
  page = pathlib.Path(name)
  return page.parent.name == "docs" and (HERE / f"{page.stem}_test.py").exists()


WITH_CODE = [
  name
  for name, text in PAGES.items()
  if blocks(text) and not has_own_test(name)
]
# Their code trains, decodes or compiles for more than five seconds.
LONG = {
  f"docs/{name}.md"
  for name in (
    "actions",
    "adapting",
    "concepts/contract",
    "decoding",
    "document_leaks",
    "estimators",
    "flat_returns",
    "generation",
    "guides/newcomer",
    "guides/rl_engineer",
    "guides/ssm_researcher",
    "index",
    "sparse_attention",
    "speculative",
    "structure",
  )
} | {"README.md"}


@pytest.mark.parametrize(
  "name",
  [
    pytest.param(name, marks=pytest.mark.slow if name in LONG else ())
    for name in WITH_CODE
  ],
)
def test_the_code_of_the_page_runs(name, tmp_path, monkeypatch):
  monkeypatch.chdir(tmp_path)
  code = "\n".join(blocks(PAGES[name]))
  exec(compile(code, name, "exec"), {"__name__": "__main__"})


@pytest.mark.slow
def test_slow_tests_are_compiled_as_users_do():
  assert "optimization_level" not in os.environ["XLA_FLAGS"]


def test_tests_of_single_pages_run_their_code():
  for name, text in PAGES.items():
    if blocks(text) and has_own_test(name):
      test = HERE / f"{pathlib.Path(name).stem}_test.py"
      assert re.search(r"\bexec\(|subprocess", test.read_text()), name


@pytest.mark.parametrize("name", PAGES)
def test_every_command_of_the_page_can_be_typed(name):
  text = PAGES[name]
  makefile = (ROOT / "Makefile").read_text()
  for start, quoted in re.findall(
    r"^(?:    )?make ([a-z-]+)|`make ([a-z-]+)", text, re.M
  ):
    assert re.search(rf"^{start or quoted}:", makefile, re.M), start or quoted
  for module in re.findall(
    r"python -m ((?:experiments|benchmarks|scripts)[\w.]*\w)", text
  ):
    if module.rpartition(".")[2] != "NAME":
      assert importlib.util.find_spec(module), module
  for path in re.findall(r"\bconfigs/[\w/]+\.py", text):
    if path.rpartition("/")[2] not in ("NAME.py", "FILE.py"):
      assert (ROOT / path).exists(), path


@pytest.mark.parametrize("name", PAGES)
def test_every_linked_file_exists(name):
  text = re.sub(r"^```.*?^```", "", PAGES[name], flags=re.M | re.S)
  for link in re.findall(r"\]\((?![a-z]+:|#)([^)\s#]+)", text):
    assert ((ROOT / name).parent / link).exists(), link


def anchors(text):
  """The anchors of a page's headings, as GitHub and MkDocs make them."""
  plain = re.sub(r"^```.*?^```", "", text, flags=re.M | re.S)
  words = re.findall(r"^#+ (.*)$", plain, re.M)
  named = re.findall(r"(?:id|name)=\"([^\"]+)\"", text)
  signs = [re.sub(r"[^\w\s-]", "", one.lower()).strip() for one in words]
  return {re.sub(r"\s", "-", one) for one in signs} | set(named)


@pytest.mark.parametrize("name", PAGES)
def test_every_linked_heading_exists(name):
  text = re.sub(r"^```.*?^```", "", PAGES[name], flags=re.M | re.S)
  for link, anchor in re.findall(r"\]\((?![a-z]+:)([^)\s#]*)#([^)\s]+)", text):
    target = (ROOT / name).parent / link if link else ROOT / name
    if target.suffix == ".md":
      assert anchor in anchors(target.read_text()), f"{link}#{anchor}"


def test_no_page_holds_marks_of_a_merge():
  marks = re.compile(r"^(<{7} |={7}$|>{7} )", re.M)
  assert not [name for name, text in PAGES.items() if marks.search(text)]


def test_no_page_says_that_an_index_has_the_package():
  pages = [*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")]
  pages += [*ROOT.glob("colabs/*.ipynb"), *ROOT.glob("colabs/*.py")]
  said = re.compile(r"pip install[^\n`]*?[ '\"]jaxseq\b(?!\.)", re.IGNORECASE)
  assert not [page.name for page in pages if said.search(page.read_text())]
