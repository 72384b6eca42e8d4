"""The files of the Long Range Arena, written small."""

import numpy as np
from PIL import Image
import pytest

from experiments.lra import data as lra
from experiments.lra import listops
from jaxseq import data
from tests.data import hashing
from tests.data import writing


def decode(row, length):
  assert np.all(row[length:] == 0)
  return (row[:length] - 1).tobytes().decode()


def test_listops(tmp_path):
  lines = {
    "train": ["( ( ( [MAX 1 ) ( ( ( [MIN 9 ) 3 ) ] ) ) ] )\t3", "5\t5"],
    "val": ["( ( ( [SM 9 ) 9 ) ] )\t8"],
    "test": ["0\t0"],
  }
  for part, rows in lines.items():
    text = "\n".join(["Source\tTarget", *rows]) + "\n"
    (tmp_path / f"basic_{part}.tsv").write_text(text)
  splits = lra.listops(tmp_path)
  assert splits.train.inputs.shape == (2, 7)
  assert splits.valid.inputs.shape == (1, 7)
  words = [listops.TOKENS[token] for token in splits.train.inputs[0]]
  assert words == ["[MAX", "1", "[MIN", "9", "3", "]", "]"]
  assert splits.train.lengths.tolist() == [7, 1]
  assert splits.train.targets.tolist() == [3, 5]
  assert splits.valid.targets.tolist() == [8]
  for line, message in (
    ("7\t10", "line 2: the class: got '10', expected 0 to 9"),
    ("7", "line 2: an expression and its value .* got 1 columns"),
    ("[AVG 7 ]\t7", "line 2: .* got .AVG"),
  ):
    (tmp_path / "basic_val.tsv").write_text(f"Source\tTarget\n{line}\n")
    with pytest.raises(ValueError, match=f"basic_val.tsv, {message}"):
      lra.listops(tmp_path)
  (tmp_path / "basic_val.tsv").write_text("7 " * 50_000 + "\t7\n")
  (tmp_path / "basic_test.tsv").write_text("7\t7\n" * 6000)
  with pytest.raises(ValueError, match="bytes that would take 300150000 in"):
    lra.listops(tmp_path)
  (tmp_path / "basic_test.tsv").unlink()
  (tmp_path / "basic_val.tsv").write_text("7\t7\n")
  with pytest.raises(data.MissingData, match="basic_test.tsv is not a file"):
    lra.listops(tmp_path)


def test_bytes_and_where_they_are_cut():
  inputs, lengths = lra._encode(["ab", "\N{SNOWMAN}" * 3, ""], 5)
  assert inputs.shape == (3, 5)
  assert lengths.tolist() == [2, 5, 0]
  assert decode(inputs[0], 2) == "ab"
  assert inputs[1, 0] == 0xE2 + 1
  with pytest.raises(
    ValueError, match="max_length: got 0, expected an integer of at least 1"
  ):
    lra._encode(["a"], 0)


def test_reviews_in_folders(tmp_path):
  reviews = {
    "train/neg/0_1.txt": "Poor.",
    "train/neg/1_2.txt": "Dull\tand\nlong.",
    "train/pos/0_9.txt": "Caf\N{LATIN SMALL LETTER E WITH ACUTE}!",
    "train/unsup/0_0.txt": "no",
    "test/neg/0_3.txt": "Bad.",
    "test/pos/0_7.txt": "Good.",
  }
  writing.write(tmp_path, reviews)
  splits = lra.text(tmp_path, max_length=16)
  assert splits.train.targets.tolist() == [0, 0, 1]
  assert splits.test.targets.tolist() == [0, 1]
  found = [
    decode(row, length)
    for row, length in zip(splits.train.inputs, splits.train.lengths)
  ]
  assert found == list(reviews.values())[:3]
  assert splits.train.inputs.shape == (3, 16)
  assert lra.text(tmp_path).test.inputs.shape == (2, 4096)
  (tmp_path / "test/pos/0_7.txt").unlink()
  (tmp_path / "test/pos/0_7.txt").symlink_to("/etc/hostname")
  with pytest.raises(ValueError, match="expected a file of the set in"):
    lra.text(tmp_path)
  (tmp_path / "test/pos/0_7.txt").unlink()
  with pytest.raises(data.MissingData, match="pos has no txt files"):
    lra.text(tmp_path)


def test_reviews_in_tables(tmp_path):
  (tmp_path / "train.tsv").write_text('1\tGood "one\n0\tBad\tfilm\n')
  (tmp_path / "test.tsv").write_text("0\tBad\r\n")
  splits = lra.text(tmp_path, max_length=20)
  assert splits.train.targets.tolist() == [1, 0]
  assert decode(splits.train.inputs[0], 9) == 'Good "one'
  assert decode(splits.train.inputs[1], 8) == "Bad\tfilm"
  assert splits.test.lengths.tolist() == [3]
  (tmp_path / "test.tsv").write_text("maybe\tBad\n")
  with pytest.raises(
    ValueError, match="line 1: the class: got 'maybe', expected 0 to 1"
  ):
    lra.text(tmp_path)
  (tmp_path / "test.tsv").write_text("1\n")
  with pytest.raises(ValueError, match="line 1: a class and a text"):
    lra.text(tmp_path)


def test_retrieval(tmp_path):
  for part in ("train", "eval", "test"):
    (tmp_path / f"new_aan_pairs.{part}.tsv").write_text(
      f"1.0\tP1\tP2\tfirst {part}\tsecond\n0.0\tP3\tP4\tthird\tfourth one\n"
    )
  splits = lra.retrieval(tmp_path, max_length=9)
  assert splits.valid.targets.tolist() == [1, 0]
  assert decode(splits.valid.inputs[0], 9) == "first eva"
  extras = splits.valid.extras
  assert extras.second_lengths.tolist() == [6, 9]
  assert decode(extras.second[1], 9) == "fourth on"
  (tmp_path / "new_aan_pairs.eval.tsv").write_text("1.0\tP1\tP2\tonly\n")
  with pytest.raises(ValueError, match="eval.tsv, line 1: .* got 4 columns"):
    lra.retrieval(tmp_path)


@pytest.fixture
def folder(tmp_path):
  level = tmp_path / "curv_contour_length_14"
  (level / "metadata").mkdir(parents=True)
  rng = np.random.default_rng(0)
  number = 0
  # The tenth file of metadata comes after the second.
  for group, count in ((2, 25), (10, 15)):
    lines = []
    (level / "imgs" / str(group)).mkdir(parents=True)
    for _ in range(count):
      image = rng.integers(0, 256, (4, 4)).astype(np.uint8)
      # The class is in the picture, to be found again.
      image[0, 0], image[0, 1] = number, number % 2
      name = f"sample_{number}.png"
      Image.fromarray(image).save(level / "imgs" / str(group) / name)
      lines.append(f"imgs/{group} {name} {number} {number % 2} 1.0 14 x")
      number += 1
    (level / "metadata" / f"{group}.npy").write_text("\n".join(lines) + "\n")
  return tmp_path


def test_pathfinder(folder):
  splits = lra.pathfinder(folder)
  assert splits.train.inputs.shape == (32, 16, 1)
  assert len(splits.valid.inputs) == len(splits.test.inputs) == 4
  whole = np.concatenate([part.inputs for part in splits[:3]])
  pixels = np.rint(255 * whole[..., 0]).astype(int)
  # The split depends on the order of the images: that of the numbers.
  np.testing.assert_array_equal(
    pixels[:, 0], np.random.default_rng(0).permutation(40)
  )
  labels = np.concatenate([part.targets for part in splits[:3]])
  np.testing.assert_array_equal(labels, pixels[:, 1])
  assert hashing.shared_rows(splits.train.inputs, splits.test.inputs) == 0
  tokens = lra.pathfinder(folder, tokens=True)
  assert tokens.info.vocab_size == 256
  np.testing.assert_array_equal(
    np.concatenate([part.inputs for part in tokens[:3]]), pixels
  )
  other = lra.pathfinder(folder, seed=1, tokens=True)
  assert not np.array_equal(other.test.inputs, tokens.test.inputs)


def test_an_empty_image_is_left_out(folder):
  level = folder / "curv_contour_length_14"
  (level / "imgs" / "2" / "sample_3.png").write_bytes(b"")
  splits = lra.pathfinder(folder, tokens=True)
  whole = np.concatenate([part.inputs for part in splits[:3]])
  assert sorted(whole[:, 0]) == [i for i in range(40) if i != 3]


def test_what_is_wrong_with_pathfinder_is_said(folder):
  level = folder / "curv_contour_length_14"
  with pytest.raises(
    ValueError, match="level: got 'hard', expected one of 'curv_baseline', "
  ):
    lra.pathfinder(folder, level="hard")
  with pytest.raises(data.MissingData, match="metadata has no .npy files"):
    lra.pathfinder(folder, level="curv_baseline")
  Image.new("L", (5, 4)).save(level / "imgs" / "10" / "sample_39.png")
  with pytest.raises(
    ValueError, match=r"sample_39.png: got \(4, 5\), expected \(4, 4\) pixels"
  ):
    lra.pathfinder(folder)
  (level / "imgs" / "10" / "sample_39.png").unlink()
  with pytest.raises(
    data.MissingData, match="39.png is not a file: .*10.npy lists it"
  ):
    lra.pathfinder(folder)
  (folder.parent / "secret.png").write_bytes(b"secret")
  for place in ("../../.. secret.png", f"{folder.parent} secret.png"):
    (level / "metadata" / "10.npy").write_text(f"{place} 0 1\n")
    with pytest.raises(
      ValueError, match="10.npy, line 1: .*secret.png, expected a file of the "
    ):
      lra.pathfinder(folder)
  (level / "metadata" / "\N{SUPERSCRIPT TWO}.npy").write_text("")
  with pytest.raises(ValueError, match="npy', expected a number and .npy"):
    lra.pathfinder(folder)
  (level / "metadata" / "\N{SUPERSCRIPT TWO}.npy").unlink()
  (level / "metadata" / "10.npy").write_text("imgs/10 a.png\n")
  with pytest.raises(ValueError, match="10.npy, line 1: folder, image"):
    lra.pathfinder(folder)
