"""Segmentation of documents: P_k, cuts, pairs, and what networks see."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments.masked_language import rna
from jaxseq import data
from jaxseq import nn
from jaxseq.data import text
from jaxseq.data.sources import paragraphs
from jaxseq.tasks import segmentation
from jaxseq.tasks.segmentation import section_scores
from tests import drawn
from tests.models import cases

STACK = nn.StackConfig("gru", d_model=4, num_layers=1)
ARM = segmentation.ArmConfig(nn.NetworkConfig(STACK), batch_size=2)


@pytest.fixture(name="splits", scope="module")
def fixture_splits(tmp_path_factory):
  folder = tmp_path_factory.mktemp("documents")
  rng = np.random.default_rng(0)
  for i in range(8):
    sections = [
      "\n".join(f"{topic} {rng.integers(9)}" for _ in range(rng.integers(2, 5)))
      for topic in ("corn", "wine", "oil")
    ]
    (folder / f"{i}.txt").write_text("\n\n".join(sections))
  return data.load("paragraphs", path=folder, buckets=64, words=3)


def slow_p_k(starts, true):
  """P_k of a document by its definition."""
  one, other = np.cumsum(starts), np.cumsum(true)
  k = max(round(len(true) / (2 * sum(true))), 1)
  wrong = [
    (one[i] == one[i + k]) != (other[i] == other[i + k])
    for i in range(len(true) - k)
  ]
  return np.mean(wrong)


def test_p_k_is_that_of_its_definition():
  rng = np.random.default_rng(1)
  starts, true = rng.random((2, 6, 20)) < 0.3
  starts[:, 0] = true[:, 0] = True
  lengths = np.array([20, 17, 9, 20, 5, 2])
  values = section_scores.p_k(*map(jnp.asarray, (starts, true, lengths)))
  slow = [
    slow_p_k(one[:n], other[:n]) for one, other, n in zip(starts, true, lengths)
  ]
  np.testing.assert_allclose(values, slow, atol=1e-6)
  # What lies behind the end changes nothing.
  other = jnp.where(jnp.arange(20) < lengths[:, None], starts, ~starts)
  np.testing.assert_array_equal(
    section_scores.p_k(other, jnp.asarray(true), jnp.asarray(lengths)), values
  )
  right = section_scores.scored(*map(jnp.asarray, (true, true, lengths)))
  assert right == {"pk": 0, "found": 1, "mistakes": 0, "exact": 1}


def test_cuts_are_the_highest_of_a_document():
  scores = jnp.array([[9.0, 1, 3, 2, 8], [0.0, 1, 2, 3, 4]])
  starts = section_scores.cuts(scores, jnp.array([4, 5]), 0.5)
  np.testing.assert_array_equal(starts, [[1, 0, 1, 1, 0], [1, 0, 0, 1, 1]])


def test_as_many_cuts_as_probabilities_add_up_to():
  logits = jnp.full((4, 10), -9.0).at[1].set(9.0).at[2, 4:6].set(9.0)
  # Two places of a half each: one cut, at one of them.
  logits = logits.at[3, 6:8].set(0.0)
  starts = section_scores.cuts(logits, jnp.full(4, 10))
  np.testing.assert_array_equal(starts.sum(axis=1), [1, 10, 3, 2])
  np.testing.assert_array_equal(jnp.flatnonzero(starts[2]), [0, 4, 5])
  assert starts[3, 6:8].any()
  # Neither the first paragraph nor those behind the end count.
  padded = jnp.full((1, 10), 9.0).at[0, 1:4].set(-9.0)
  assert section_scores.cuts(padded, jnp.array([4])).sum() == 1


def test_drawn_pairs_are_of_one_section_or_of_two(splits):
  part = splits.train
  starts, lengths = jnp.asarray(part.targets > 0), jnp.asarray(part.lengths)
  others, differ, valid = map(
    np.asarray, segmentation.drawn_pairs(jax.random.key(0), starts, lengths)
  )
  section = np.cumsum(part.targets, axis=1)
  rows, places = np.nonzero(valid)
  other = others[rows, places]
  assert (other < part.lengths[rows]).all()
  assert (other != places).all()
  np.testing.assert_array_equal(
    section[rows, places] != section[rows, other], differ[rows, places]
  )
  assert 0.3 < differ[valid].mean() < 0.7


def test_pairs_know_how_rare_cuts_are(splits):
  """Half of the pairs of training are in two sections, and few neighbors."""
  words, lengths = splits.test.extras.words, splits.test.lengths
  arm = dataclasses.replace(ARM, reads="pairs")
  network = segmentation.Problem(arm, splits).network
  variables = network.init(jax.random.key(0), words)
  before = jnp.maximum(jnp.arange(words.shape[1]) - 1, 0)[None]
  pairs = network.apply(variables, words, lengths, others=before)
  neighbors = jax.nn.sigmoid(network.apply(variables, words, lengths))
  odds = network.rate / (1 - network.rate)
  np.testing.assert_allclose(
    neighbors / (1 - neighbors), odds * jnp.exp(pairs), rtol=1e-4
  )


@pytest.mark.parametrize("reads", ["document", "neighbors", "pairs"])
def test_arms_see_what_they_say(splits, reads):
  problem = segmentation.Problem(dataclasses.replace(ARM, reads=reads), splits)
  variables = drawn.variables(problem)
  words, lengths = splits.test.extras.words[:1], splits.test.lengths[:1]
  apply = jax.jit(problem.network.apply)
  logits = apply(variables, words, lengths)
  changed = words.copy()
  changed[:, 2] = 5
  moved = apply(variables, changed, lengths) != logits
  last = None if reads == "document" else 4
  expected = np.zeros(words.shape[:2], bool)
  expected[:, 2:last] = True
  inside = np.arange(words.shape[1]) < lengths[:, None]
  np.testing.assert_array_equal(moved[inside], expected[inside])
  batch = jax.tree.map(lambda x: jnp.asarray(x[:2]), problem.data["train"])
  loss, _ = jax.jit(problem.loss)(variables, batch, None, jax.random.key(1))
  assert 0 < loss < 3


def test_rows_that_need_no_training(splits):
  rows = section_scores.trivial(splits, "test")
  assert rows["no cuts"]["found"] == 0
  assert rows["all cuts"]["found"] == 1
  # A topic's word is in all paragraphs of a section, and in no other.
  assert rows["cosine of words"]["pk"] < 0.2 < rows["random cuts"]["pk"]
  assert section_scores.rate_of(splits.train) == pytest.approx(
    2 * len(splits.train.lengths) / (splits.train.lengths - 1).sum()
  )


def test_sections_are_divided_by_empty_lines(tmp_path, splits):
  path = tmp_path / "a.txt"
  path.write_text("\nOne two\nthree\n\n \nfour\n---\n")
  names, documents = paragraphs.read(path)
  assert (names, documents) == (["a.txt"], [[["One two", "three"], ["four"]]])
  examples = splits.info.preparation.read(path)
  np.testing.assert_array_equal(examples.dataset.targets, [[1, 0, 1]])
  sections = [["a"] * 3, ["b"] * 9, ["c"] * 2, ["d"] * 2, ["e"]]
  runs = paragraphs.pieces(sections, 4)
  assert [[x[0] for x in run] for run in runs] == [["c", "d"]]
  books = b"Ge1:1 In the\nGe1:2 And\nGe2:1 Thus\nEx1:1 Now\n"
  assert text.bible_chapters(books) == [
    [["In the", "And"], ["Thus"]],
    [["Now"]],
  ]


def test_every_paragraph_of_a_file_has_a_section(tmp_path):
  (tmp_path / "b.txt").write_text("a1 b\na2 b\n\na3 b\na4\na5 b\n")
  model = cases.case("segmentation").model
  preparation = dataclasses.replace(model.preparation, reader="paragraphs")
  model = dataclasses.replace(model, preparation=preparation)
  found = model.predict(tmp_path / "b.txt")
  assert list(found["id"]) == ["b.txt"] * 5
  np.testing.assert_array_equal(found["paragraph"], range(5))
  np.testing.assert_array_equal(found["target"], [1, 0, 1, 0, 0])
  sections = found["section"]
  assert sections[0] == 0
  expected = found["probability"][1:].sum()
  assert 0 < sections[-1] == round(expected) < 4
  # Where one begins it is likelier than where none does.
  begins = np.diff(sections) > 0
  chances = found["probability"][1:]
  assert chances[begins].min() > chances[~begins].max()


def test_other_data_are_refused(splits):
  pooled = nn.NetworkConfig(STACK, pooling="mean")
  with pytest.raises(ValueError, match="network.pooling"):
    segmentation.Problem(dataclasses.replace(ARM, network=pooled), splits)
  source = paragraphs.ParagraphSource()
  for targets, message in (
    ([[1], [0]], "targets: rows: got 2, expected 1, one for each document"),
    ([[1]], "targets of document 0: got"),
  ):
    with pytest.raises(ValueError, match=message):
      source.prepare([["a", "b"]], targets=targets)
  with pytest.raises(ValueError, match="document 0: paragraph: got 'int'"):
    source.prepare([[1, 2]])
  with pytest.raises(ValueError, match="expected documents of paragraphs"):
    segmentation.Problem(ARM, rna.load(examples=24, length=28))
