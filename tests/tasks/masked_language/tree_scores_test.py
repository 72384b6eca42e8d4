"""Trees: brackets of distances, scores, and the grammar that they are of."""

import random

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments.masked_language import grammar
from jaxseq import data
from jaxseq import nn
from jaxseq.tasks import masked_language
from jaxseq.tasks.masked_language import structformer
from jaxseq.tasks.masked_language import tree_scores

SPLITS = data.load("grammar", examples=200)


def test_brackets_are_those_of_the_published_code(golden):
  known = golden("structformer/trees")
  spans = np.asarray(tree_scores.brackets(known["distance"], known["length"]))
  for got, wanted in zip(spans, known["brackets"]):
    pairs = {(int(i), int(j) + 1) for i, j in zip(*np.nonzero(got))}
    assert pairs == {tuple(x) for x in wanted.tolist() if x[0] >= 0}


def test_trees_are_written_in_brackets():
  assert tree_scores.bracketed("abcd", [1, 3, 1, 9]) == "((a b) (c d))"
  assert tree_scores.bracketed("abcd", [1, 1, 2]) == "((a b c) d)"
  assert tree_scores.bracketed(["(", ")", " "], [2, 1]) == "(-LRB- (-RRB- _))"
  assert tree_scores.bracketed(["one"], []) == "(one)"
  rng = np.random.default_rng(0)
  for size in range(2, 12):
    distance = rng.integers(0, 5, size).astype(float)
    tree = tree_scores.bracketed([*map(str, range(size))], distance)
    begins, spans, last = [], set(), -1
    for part in tree.replace("(", "( ").replace(")", " )").split():
      if part == "(":
        begins.append(None)
      elif part == ")":
        spans.add((begins.pop(), last))
      else:
        last = int(part)
        begins = [last if x is None else x for x in begins]
    # Of one length, so that it is compiled once.
    padded = np.pad(distance, (0, 12 - size))
    found = np.argwhere(tree_scores.brackets(padded, size))
    wanted = {tuple(x) for x in found.tolist()} | {(0, size - 1)}
    assert spans == wanted


def test_scores_count_no_whole_sentence():
  lengths = jnp.array([4, 4, 2])
  left = tree_scores.brackets(jnp.array([[1.0, 2, 3, 0]] * 3), lengths)
  right = tree_scores.brackets(jnp.array([[3.0, 2, 1, 0]] * 3), lengths)
  np.testing.assert_array_equal(tree_scores.f1(left, left), 1)
  # Of ((ab)c)d and a(b(cd)) only the sentence is common; ab has nothing else.
  np.testing.assert_array_equal(tree_scores.f1(left, right), [0, 0, 1])
  # ((ab)c)d and (ab)(cd) have ab, one of two.
  both = tree_scores.brackets(jnp.array([[1.0, 3, 1, 0]] * 3), lengths)
  np.testing.assert_allclose(tree_scores.f1(both, left)[0], 0.5, atol=1e-6)
  # Nothing is predicted of a sentence that is split into its words.
  flat = tree_scores.brackets(jnp.ones((3, 4)), lengths)
  assert tree_scores.f1(flat, left)[0] == 0


def test_boundaries_that_are_a_word_beside_the_true_ones():
  # a(b((cd)e)), and the same boundaries a word further right.
  true, right = jnp.array([[4.0, 3, 1, 2, 0, 0]]), [[9.0, 4, 3, 1, 7, 7]]
  lengths = jnp.array([5])
  back = tree_scores.moved(jnp.array(right), lengths, -1)
  np.testing.assert_array_equal(back, [[4, 3, 1, -np.inf, *[-np.inf] * 2]])
  forth = tree_scores.moved(true, lengths, 1)
  np.testing.assert_array_equal(forth, [[-np.inf, 4, 3, 1, 2, -np.inf]])
  spans = tree_scores.brackets(true, lengths)
  moved = tree_scores.brackets(back, lengths)
  # bcde and cde are found, and de in the place of cd.
  np.testing.assert_allclose(tree_scores.f1(moved, spans), 2 / 3, atol=1e-6)
  batch = jax.tree.map(jnp.asarray, SPLITS.test)
  heads = batch.extras.heads[:, 1:-1] - 1
  true = batch.extras.boundaries[:, 1:-1]
  scores = tree_scores.scores(
    tree_scores.moved(true, batch.lengths - 2, 1), heads, batch
  )
  assert scores["uf1"] < 0.4 < 0.7 < scores["uf1_left"]


def test_heads_and_boundaries_are_of_one_tree():
  leaf = grammar.Tree
  tree = grammar.join(
    grammar.join(leaf("a"), leaf("b"), 1),
    grammar.join(leaf("c"), grammar.join(leaf("d"), leaf("e"), 1), 0),
    1,
  )
  assert (tree.words, tree.root) == ("abcde", 2)
  assert tree.boundaries == [1, 3, 2, 1]
  assert tree.heads == [1, 2, -1, 4, 2]
  rng = random.Random(0)
  trees = [grammar.draw(rng, 20) for _ in range(400)]
  lengths = [len(tree.words) for tree in trees if tree is not None]
  assert max(lengths) <= 20
  # In a binary tree as many constituents as words but one, the sentence too.
  batch = SPLITS.test
  lengths = jnp.asarray(batch.lengths) - 2
  assert lengths.min() >= 6
  spans = tree_scores.brackets(batch.extras.boundaries[:, 1:-1], lengths)
  np.testing.assert_array_equal(spans.sum((1, 2)), lengths - 2)
  again = data.load("grammar", examples=200).test.extras.heads
  np.testing.assert_array_equal(again, batch.extras.heads)


def test_true_trees_are_right_and_trivial_ones_are_not():
  batch = jax.tree.map(jnp.asarray, SPLITS.test)
  heads = batch.extras.heads[:, 1:-1] - 1
  score = jax.jit(tree_scores.scores)
  same = score(batch.extras.boundaries[:, 1:-1], heads, batch)
  assert same["uf1"] == same["uas"] == 1
  # The parse of tokens has the words between the first and the last.
  time = batch.inputs.shape[1]
  place = jnp.arange(time)
  # cls is the highest, and everything's head.
  height = -place[None].astype(float)
  parse = structformer.Parse(
    -height, height, jnp.eye(time)[None, 0] + 0 * height
  )
  head = jnp.broadcast_to(place == 0, (1, time, time)).astype(float)
  words = tree_scores.words_of(parse._replace(head=head), jnp.array([3]))
  assert tree_scores.heads_of(words)[0, 0] == -1
  rows = tree_scores.trivial(SPLITS.test)
  assert len(rows) == 3
  # Half of the rules branch either way: no trivial tree is good.
  assert all(0.05 < row["uf1"] < 0.6 for row in rows.values()), rows


@pytest.mark.slow
def test_parsers_are_measured_by_trees():
  arm = masked_language.ArmConfig(
    nn.NetworkConfig(nn.StackConfig("gru", d_model=8, num_layers=1)),
    batch_size=4,
    parser=1,
    parser_heads=2,
  )
  problem = masked_language.Problem(arm, SPLITS)
  variables = jax.jit(problem.init)(jax.random.key(0))
  examples = jax.tree.map(jnp.asarray, problem.data["test"])
  metrics = jax.jit(problem.measure)(variables, examples)
  names = {"uf1", "uf1_left", "uf1_right", "uas"}
  assert set(metrics) == {"test_loss", "accuracy", *names}
  assert all(0 <= metrics[name] <= 1 for name in names)
