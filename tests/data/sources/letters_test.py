"""Sequences of letters: lines and FASTA, and the tokens of RNA-FM."""

import numpy as np
import pytest

from jaxseq import data
from jaxseq.data.sources import letters
from tests.data import writing


def test_the_tokens_of_the_release(golden):
  arrays = golden("rna/rna_fm_tiny")
  assert tuple(arrays["vocabulary"]) == letters.RNA
  source = letters.LetterSource(rna=True)
  # T is read as U, and small letters as large ones.
  written = [x.replace("U", "T").lower() for x in arrays["sequences"]]
  np.testing.assert_array_equal(
    source.prepare(written).inputs, arrays["tokens"]
  )
  row = source.prepare(["A<mask>?"]).inputs[0]
  assert [letters.RNA[i] for i in row] == [
    *("<cls>", "A", "<mask>", "<unk>", "<eos>")
  ]


def test_lines_are_divided_whole_and_long_ones_cut(tmp_path):
  lines = [f"line {i} -" + "x" * i for i in range(20)]
  writing.write(tmp_path, {"a.txt": "\n\n".join(lines)})
  splits = data.load("letters", path=tmp_path / "a.txt", length=16)
  parts = [splits.train, splits.valid, splits.test]
  names = np.array(splits.info.tokens)
  pieces = [
    "".join(names[row[1 : n - 1]])
    for part in parts
    for row, n in zip(part.inputs, part.lengths)
  ]
  expected = [x[i : i + 16] for x in lines for i in range(0, len(x), 16)]
  assert sorted(pieces) == sorted(expected)
  assert (splits.train.inputs[:, 0] == 0).all()
  read = splits.info.preparation.read(tmp_path / "a.txt")
  assert read.ids[:2] == ("a.txt:1", "a.txt:3")
  whole = data.load("letters", path=tmp_path / "a.txt", length=16, lines=False)
  assert "\n" in whole.info.tokens
  assert len(whole.info.preparation.read(tmp_path / "a.txt").ids) == 1


def test_no_line_is_in_two_parts(tmp_path):
  lines = [letter * 70 for letter in "abcdefghijk"]
  writing.write(tmp_path, {"a.txt": "\n".join(lines), "b.txt": "ab" * 100})
  splits = data.load("letters", path=tmp_path / "a.txt", length=16)
  parts = [{*part.inputs[:, 1].tolist()} for part in splits[:3]]
  assert [len(part) for part in parts] == [9, 1, 1]
  assert len(set.union(*parts)) == 11
  # There is one line alone.
  splits = data.load("letters", path=tmp_path / "b.txt", length=16)
  assert [len(part.inputs) for part in splits[:3]] == [11, 1, 1]


def test_letters_in_another_encoding_are_refused(tmp_path):
  (tmp_path / "a.txt").write_bytes("ab\näöü\n".encode("latin1"))
  with pytest.raises(ValueError, match="a.txt, line 2: got the byte 0xe4, exp"):
    letters.records(tmp_path / "a.txt")


def test_fasta(tmp_path):
  writing.write(tmp_path, {"a.fasta": ">one of\nACG\nUU\n\n>two\nGG<mask>\n"})
  names, sequences = letters.records(tmp_path / "a.fasta")
  assert names == ["one of", "two"]
  assert sequences == ["ACGUU", "GG<mask>"]
  writing.write(tmp_path, {"b.fasta": ">one\n>two\nA\n", "empty.txt": "\n"})
  with pytest.raises(ValueError, match="b.fasta, record 'one': got 'no le"):
    letters.records(tmp_path / "b.fasta")
  with pytest.raises(ValueError, match="got 'no sequence'"):
    letters.records(tmp_path / "empty.txt")


def test_words_of_sentences(tmp_path, caplog):
  lines = ["The cat's mat, 1.5 m.", "the cat's <mask> mat.", "A cat"] * 4
  writing.write(tmp_path, {"a.txt": "\n".join(lines), "b.txt": "The quark\n"})
  splits = data.load("letters", path=tmp_path / "a.txt", words=5, length=4)
  # Words that come five times; a sentence is cut behind four.
  assert splits.info.tokens == (
    *("<cls>", "<pad>", "<eos>", "<unk>"),
    *(".", "cat's", "mat", "the", "<mask>"),
  )
  assert splits.train.inputs.shape[1] == 6
  assert "20 of 56 words are not in the model's voc" in caplog.text
  caplog.clear()
  source = splits.info.preparation
  assert data.sources.from_json(source.to_json()) == source
  row = source.prepare(["The MAT\u00a0<mask> (the cat's)!"]).inputs[0]
  assert [source.tokens[i] for i in row] == [
    *("<cls>", "the", "mat", "<mask>", "<unk>", "the", "cat's"),
    *("<unk>", "<unk>", "<eos>"),
  ]
  assert "3 of 8 words are not in" in caplog.text
  read = source.read(tmp_path / "b.txt")
  assert "1 of 2 words are not in" in caplog.text
  assert "most often 'quark'" in caplog.text
  assert read.dataset.lengths == [4]
  with pytest.raises(ValueError, match="sequence 0: got .*, expected words"):
    source.prepare([" "])
  with pytest.raises(ValueError, match="words: got 'no word', .* 40 times"):
    data.load("letters", path=tmp_path / "a.txt", words=40)
  with pytest.raises(ValueError, match="words: got 1, expected None with"):
    data.load("letters", path=tmp_path / "a.txt", words=1, alphabet="rna")


def test_letters_outside_of_an_alphabet_are_told(tmp_path, caplog):
  protein = "\n".join(["MKTAYIAKQRQISFVKSHFSRQ"] * 20)
  few = "\n".join(["ACGUACGUACGUACGUACGUACGU.ACGUZ"] * 20)
  writing.write(tmp_path, {"protein.txt": protein, "few.txt": few})
  with pytest.raises(ValueError, match="alphabet: got 'rna'.*32 % are .*'Q'"):
    data.load("letters", path=tmp_path / "protein.txt", alphabet="rna")
  assert not caplog.messages
  splits = data.load("letters", path=tmp_path / "few.txt", alphabet="rna")
  (told,) = caplog.messages
  assert "6.7 % of the letters are not" in told
  assert "'.', 'Z'" in told
  # In prediction, where a mask is none of them.
  caplog.clear()
  source = splits.info.preparation
  source.prepare(["acgt<mask>"])
  assert not caplog.messages
  source.prepare(["MKTAYIAKQRQ"])
  assert "not of the model's alphabet" in caplog.text


def test_masks_may_be_capitals_and_records_of_one_name_are_told_apart(tmp_path):
  text = ">one\nGG<MASK>\n>one\nGG<mask>\n>one (2)\nACG\n>one\nACG\n"
  writing.write(tmp_path, {"a.fasta": text})
  source = letters.LetterSource(rna=True, reader="letters")
  found = source.read(tmp_path / "a.fasta")
  assert found.ids == ("one", "one (2)", "one (2) (2)", "one (3)")
  mask = source.tokens.index("<mask>")
  assert found.dataset.inputs[:2, 3].tolist() == [mask, mask]
  assert source.outside(["GG<MASK>"]) == (0.0, "")
