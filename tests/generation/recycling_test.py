"""Token Recycling against whole runs of the golden data."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxseq import recurrence
from jaxseq.generation import _draft_passes
from jaxseq.generation import _drafts
from jaxseq.generation import recycling
from jaxseq.generation import token_sampling
from jaxseq.recurrence.trees import tree


class _Golden:
  """The networks of the golden data: one recurrence of a kind."""

  def __init__(self, kind, params):
    self.kind, self.params = kind, params
    self.num_outputs, self.width = params["out"].shape[1], len(params["out"])

  def initial_state(self, batch_shape, dtype):
    del dtype
    return jnp.zeros((*batch_shape, self.width))

  def _cell(self, h, x):
    p = self.params
    if self.kind == "diag":
      return jax.nn.sigmoid(x @ p["Wa"] + p["ba"]) * h + x @ p["Wb"]
    return jnp.tanh(x @ p["W"] + h @ p["U"] + p["b"])

  def apply(self, variables, tokens, h=None, method=None):
    del variables
    x = jnp.asarray(self.params["emb"])[tokens]
    if method == "step":
      h = self._cell(h, x)
      return jnp.tanh(h) @ self.params["out"], h

    def step(h, x):
      h = self._cell(h, x)
      return h, h

    hs, h = recurrence.fold(step, h, x)
    return jnp.tanh(hs) @ self.params["out"], h


@pytest.mark.slow
@pytest.mark.parametrize(
  ("name", "scheme"),
  [
    ("diag_222_prefill", "levels"),
    pytest.param("diag_222_prefill", "paths", marks=pytest.mark.slow),
    pytest.param("diag_small", "levels", marks=pytest.mark.slow),
    pytest.param("diag_small", "paths", marks=pytest.mark.slow),
    ("elman_small", "paths"),
    pytest.param("elman_small", "levels", marks=pytest.mark.slow),
  ],
)
def test_whole_runs(golden, name, scheme):
  g = golden(f"recycling/{name}")
  params = {k.split("/")[1]: v for k, v in g.items() if k.startswith("param/")}
  network = _Golden(str(g["kind"]), params)
  draft = recycling.Recycling(
    tree.from_ranks(g["template"]),
    candidates=int(g["k"]),
    reads_prompt=str(g["update"]) == "prefill",
  )
  length = len(g["tokens"])
  with jax.enable_x64():
    controls = token_sampling.make_controls(
      token_sampling.Sampling(temperature=0.0), network.num_outputs
    )
    keys = jax.random.split(jax.random.key(0), 1)
    prompt = g["prompt"][None]
    progress = _draft_passes.begin(
      network, {}, prompt, length, keys, draft=draft
    )
    advance = jax.jit(
      functools.partial(
        _draft_passes.advance,
        network,
        {},
        draft=draft,
        controls=jax.tree.map(lambda leaf: leaf[None], controls),
        scheme=scheme,
      )
    )
    tokens = []
    for (root, count), nodes, state in zip(
      g["passes"], g["accepted_nodes"], g["state_after_pass"]
    ):
      assert not progress.done[0]
      assert progress.rows.token[0] == root
      progress, verdict, _ = advance(progress)
      assert verdict.count[0] == count
      np.testing.assert_array_equal(verdict.nodes[0, :count], nodes[:count])
      tokens += verdict.tokens[0, :count].tolist()
      # Sums of a dozen float64 numbers, over at most 82 steps.
      np.testing.assert_allclose(
        progress.states[0], state, rtol=1e-10, atol=1e-12
      )
    assert progress.done[0]
  np.testing.assert_array_equal(tokens, g["tokens"])
  np.testing.assert_array_equal(tokens, g["greedy"])
  np.testing.assert_array_equal(progress.memory, g["adjacency_final"])


def test_the_paper_tree_and_its_draft(golden):
  g = golden("recycling/template_222")
  assert recycling.PAPER_TREE == tree.from_ranks(g["template"])
  draft = recycling.Recycling()
  recent = jnp.array([[0, int(g["root"])]])
  guess = draft.propose(jnp.asarray(g["adjacency"]), recent, None)
  np.testing.assert_array_equal(guess.ids[0], g["draft"])


def test_equal_siblings_and_the_last_of_equal_tokens():
  # Nodes 1 and 2 hold the same token; what was drawn goes on below node 2.
  small = tree.Tree((-1, 0, 0, 2), (-1, 0, 1, 0))
  ids = jnp.array([[5, 3, 3, 4]])
  verdict = _drafts.follow(small, ids, jnp.array([[3, 4, 4, 9]]))
  assert verdict.count[0] == 3
  np.testing.assert_array_equal(verdict.nodes[0], [0, 2, 3])
  np.testing.assert_array_equal(verdict.tokens[0], [3, 4, 9])
  # Rows of tokens that occur twice are those of their last nodes.
  draft = recycling.Recycling(small, candidates=2)
  logits = jax.nn.one_hot(jnp.array([[6, 0, 2, 0]]), 7)
  guess = _drafts.Guess(ids)
  found = draft.learn(draft.begin(None, 7), ids[:, :2], guess, logits, verdict)
  assert found.dtype == jnp.int16
  expected = np.zeros((7, 2), int)
  expected[5], expected[3], expected[4] = [6, 0], [2, 0], [0, 1]
  np.testing.assert_array_equal(found, expected)
  # Rows that have ended leave the matrix as it is.
  done = verdict._replace(count=jnp.zeros(1, int))
  same = draft.learn(found, ids[:, :2], guess, -logits, done)
  np.testing.assert_array_equal(same, found)


def test_the_last_of_equal_tokens_counts_in_large_vocabularies_too():
  """Of more rows than there are pairs of nodes."""
  draft = recycling.Recycling(tree.Tree((-1, 0, 0, 0), (-1, 0, 1, 2)), 3)
  vocab = 90
  ids = jnp.array([[5, 3, 7, 3], [7, 5, 8, 9]])
  best = np.arange(24).reshape(2, 4, 3)
  logits = np.full((2, 4, vocab), -np.inf)
  np.put_along_axis(logits, best, np.array([3.0, 2.0, 1.0]), axis=-1)
  verdict = _drafts.Verdict(None, jnp.array([1, 1]), None)
  matrix = draft.begin(None, vocab, 2)
  assert ids.size**2 < vocab
  found = draft.learn(
    *(matrix, ids[:, :2], _drafts.Guess(ids), jnp.asarray(logits), verdict)
  )
  expected = np.zeros((vocab, 3), int)
  # Row by row, in the order of the nodes.
  for token, row in zip(np.ravel(ids), best.reshape(8, 3)):
    expected[token] = row
  np.testing.assert_array_equal(found, expected)


def test_two_tokens_are_the_key():
  draft = recycling.Recycling(tree.chain(3), candidates=1, context=2)
  matrix = np.zeros((25, 1), np.int16)
  matrix[5 * 2 + 1], matrix[5 * 1 + 4], matrix[5 * 1 + 3] = 4, 3, 2
  guess = draft.propose(jnp.asarray(matrix), jnp.array([[2, 1]]), None)
  np.testing.assert_array_equal(guess.ids, [[1, 4, 3]])
  tokens = jnp.array([[2, 1, 4]])
  logits = jax.nn.one_hot(jnp.array([[1, 4, 3]]), 5)
  found = draft.read_prompt(draft.begin(None, 5), tokens, None, logits)
  np.testing.assert_array_equal(np.flatnonzero(found), [2, 9, 11])
  guess = draft.propose(found, jnp.array([[2, 1]]), None)
  np.testing.assert_array_equal(guess.ids, [[1, 4, 3]])


@pytest.mark.parametrize(
  ("make", "message"),
  [
    (
      lambda: recycling.Recycling(tree.Tree((-1, -1))),
      "tree: got (-1, -1), expected a tree with one root",
    ),
    (lambda: recycling.Recycling(candidates=7), "candidates: got 7, expected"),
    (lambda: recycling.Recycling(context=3), "context: got 3, expected"),
    (lambda: recycling.Recycling().begin(None, 7), "vocab: got 7, expected"),
    (
      lambda: recycling.Recycling(context=2).begin(None, 50_000),
      "context: got 2, expected 1",
    ),
    (
      lambda: recycling.Recycling().begin(np.zeros((9, 4), int), 9),
      "memory: got shape (9, 4)",
    ),
  ],
)
def test_refusals(make, message):
  with pytest.raises(ValueError) as caught:
    make()
  assert message in str(caught.value)
