"""Documents of paragraphs, cut between sections and divided."""

from jaxseq import data
from jaxseq.data.sources import paragraphs
from tests.data import writing


def test_no_document_is_in_two_parts(tmp_path):
  names = [f"{letter}{letter}" for letter in "abcdefghijkl"]
  # Six sections of two paragraphs, of which a piece has two.
  texts = {
    f"{name}.txt": "\n\n".join([f"{name} one\n{name} two"] * 6)
    for name in names
  }
  writing.write(tmp_path, texts)
  splits = data.load("paragraphs", path=tmp_path, longest=4)
  parts = [{*part.extras.words[:, 0, 0].tolist()} for part in splits[:3]]
  assert [len(part.inputs) for part in splits[:3]] == [24, 6, 6]
  assert [len(part) for part in parts] == [8, 2, 2]
  assert len(set.union(*parts)) == 12
  # There is one document alone.
  shares = {"valid_fraction": 0.3, "test_fraction": 0.3}
  path = tmp_path / "aa.txt"
  splits = data.load("paragraphs", path=path, longest=4, **shares)
  assert [len(part.inputs) for part in splits[:3]] == [1, 1, 1]


def test_a_file_without_sections_has_no_targets(tmp_path):
  texts = {"a.txt": "one\ntwo\n\nthree\n", "b.txt": "one\ntwo\nthree\n"}
  writing.write(tmp_path, texts)
  source = paragraphs.ParagraphSource(reader="paragraphs")
  found = source.read(tmp_path)
  assert found.labeled
  assert found.dataset.targets.tolist() == [[1, 0, 1], [-1, -1, -1]]
  alone = source.read(tmp_path / "b.txt")
  assert not alone.labeled
