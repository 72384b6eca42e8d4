"""Pages of results say what the files of results say."""

import importlib
import importlib.util
import re
import shlex

import pytest

from benchmarks import report

FILES = sorted(report.RESULTS.glob("*/*.toml"))
PAGES = sorted(report.PAGES.glob("*.md"))


def test_there_are_results():
  assert len(FILES) > 50
  assert len(PAGES) >= 10


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_a_page_says_what_the_files_say(page):
  text = page.read_text(encoding="utf-8")
  assert report.render(page) == text, "run `python -m benchmarks.report`"
  # All tables of numbers are made of files.
  left = re.sub(r"<!-- results.*?<!-- end -->", "", text, flags=re.S)
  assert not re.search(r"^\|.*\d\.\d", left, re.M)


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_every_table_is_on_its_page(path):
  run = report.read(path)
  page = (report.PAGES / f"{path.parent.name}.md").read_text(encoding="utf-8")
  for number in range(1, len(run.tables) + 1):
    name = path.stem if number == 1 else f"{path.stem} {number}"
    assert page.count(f"<!-- results: {name} -->") == 1


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_what_prints_the_numbers_exists(path):
  makefile = (report.ROOT / "Makefile").read_text()
  command = report.read(path).command.replace("\\\n", " ")
  for line in command.splitlines():
    words = shlex.split(line, comments=True)
    if words[:1] == ["make"]:
      assert f"\n{words[1]}:" in makefile
    for flag, module in zip(words, words[1:]):
      if flag == "-m" and module.startswith(("benchmarks.", "experiments.")):
        assert importlib.util.find_spec(module), module
    options = [word for word in words if word.startswith("--config=")]
    for option in options:
      file, _, variant = option.removeprefix("--config=").partition(":")
      name = file.removesuffix(".py").replace("/", ".")
      # Other variants than those of the file are refused.
      importlib.import_module(name).get_config(*filter(None, [variant]))


def test_papers_have_pages_and_numbers():
  papers = report.read_papers(report.RESULTS / "fidelity.toml")
  assert len(papers) > 10
  for paper in papers:
    assert (report.PAGES / paper.page).is_file()
  # Numbers are those of the tables.
  tables = "".join(
    page.read_text(encoding="utf-8") for page in PAGES if page.stem != "index"
  )
  for paper in papers:
    for number in re.findall(r"-?\d\.\d{3} ± \d\.\d{3}", paper.reached):
      assert number in tables


@pytest.mark.parametrize(
  ("change", "match"),
  [
    (("seeds = ", "seed = "), "seed, seeds: absent, unknown or empty"),
    (('"2"', '""'), "seeds: absent, unknown or empty"),
    (('"2"', '"-"'), "seeds: got '-', expected '- .why.'"),
    (('["a", "1.0"]', '["a"]'), "expected 2 cells"),
  ],
)
def test_a_file_lacks_nothing(tmp_path, change, match):
  text = """command = "make test"
commit = "1234567"
versions = "Python 3.13"
seeds = "2"
machine = "two cores"
time = "- (not written down)"

[[tables]]
columns = ["", "accuracy"]
rows = [
  ["a", "1.0"],
]
"""
  path = tmp_path / "run.toml"
  path.write_text(text)
  assert report.read(path).tables[0].markdown() == (
    "| | accuracy |\n| --- | --- |\n| a | 1.0 |"
  )
  assert change[0] in text
  path.write_text(text.replace(*change))
  with pytest.raises(ValueError, match=match):
    report.read(path)
