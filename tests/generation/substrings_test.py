import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxseq import generation
from jaxseq import nn
from jaxseq.data import fm_index
from jaxseq.generation import substrings

GOLDEN = ("index_repeats", "index_small")


@dataclasses.dataclass(frozen=True)
class _Bigrams:
  """Log probabilities by the last token, which is the state."""

  def apply(self, table, tokens, state=None, method=None):
    return table[tokens], tokens if method == "step" else tokens[..., -1]


def _golden_index(arrays, **options):
  documents = [
    row[:length] for row, length in zip(arrays["docs"], arrays["doc_length"])
  ]
  vocab = int(arrays["vocab"])
  return fm_index.build(documents, vocab, block=16, **options), documents


def _search(arrays, index, beams, **options):
  return generation.beam_search(
    _Bigrams(),
    jnp.asarray(arrays["log_prob"]),
    jnp.asarray([int(arrays["start"])], jnp.int32),
    4,
    beams=beams,
    constraint=substrings.within(index),
    **({"renormalize": False, "end_at_match": False} | options),
  )


@pytest.mark.parametrize(
  "name", ["index_repeats", pytest.param("index_small", marks=pytest.mark.slow)]
)
def test_constrained_beams_are_the_golden_ones(golden, name):
  with jax.enable_x64(True):
    arrays = golden(f"seal/{name}")
    index, documents = _golden_index(arrays)
    found = _search(arrays, index, 5)
    np.testing.assert_array_equal(found.tokens[0], arrays["beam_tokens"])
    np.testing.assert_allclose(
      found.log_prob[0], arrays["beam_score"], rtol=1e-10
    )
    # There are fewer runs of four tokens than beams, so that all are found.
    runs = {
      tuple(document[i : i + 4].tolist())
      for document in documents
      for i in range(len(document) - 3)
    }
    found = _search(arrays, index, 64)
    np.testing.assert_array_equal(found.tokens[0, :5], arrays["exact_tokens"])
    np.testing.assert_allclose(
      found.log_prob[0, :5], arrays["exact_score"], rtol=1e-10
    )
    there = np.asarray(found.log_prob[0]) > -np.inf
    assert there.sum() == len(runs)
    assert set(map(tuple, np.asarray(found.tokens[0])[there].tolist())) == runs


@pytest.mark.parametrize("renormalize", [False, True])
@pytest.mark.parametrize("name", GOLDEN)
def test_scores_of_all_runs(golden, name, renormalize):
  """What may follow shares all of the probability, or keeps what it has."""
  with jax.enable_x64(True):
    arrays = golden(f"seal/{name}")
    index, documents = _golden_index(arrays)
    found = _search(arrays, index, 64, renormalize=renormalize)
  documents = [document.tolist() for document in documents]
  runs = {}
  for size in range(5):
    runs[size] = {
      tuple(document[i : i + size])
      for document in documents
      for i in range(len(document) - size + 1)
    }
  table, expected = arrays["log_prob"], {}
  for run in runs[4]:
    total, last = 0.0, int(arrays["start"])
    for place, token in enumerate(run):
      following = {
        other[place]
        for other in runs[place + 1]
        if other[:place] == run[:place]
      }
      whole = np.exp(table[last, sorted(following)]).sum() if renormalize else 1
      total += table[last, token] - np.log(whole)
      last = token
    expected[run] = total
  there = np.asarray(found.log_prob[0]) > -np.inf
  got = [tuple(run) for run in np.asarray(found.tokens[0])[there].tolist()]
  assert got == sorted(expected, key=lambda run: -expected[run])
  # Sums of four float64 numbers.
  np.testing.assert_allclose(
    found.log_prob[0, there], [expected[run] for run in got], rtol=1e-10
  )


@pytest.mark.parametrize("separate", [False, True])
@pytest.mark.parametrize("name", GOLDEN)
def test_masks_and_rows_are_those_of_the_index(golden, name, separate):
  arrays = golden(f"seal/{name}")
  index, _ = _golden_index(arrays, separate=separate)
  constraint = substrings.within(index)
  kind = "within" if separate else "published"
  queries = arrays["query"]
  state = constraint.initial((len(queries),))
  advance = jax.jit(constraint.advance)
  for column in queries.T:
    after = advance(state, jnp.asarray(np.maximum(column, 0)))
    state = jax.tree.map(
      lambda a, b, column=column: jnp.where(column < 0, a, b), state, after
    )
  expected = [index.rows(query[query >= 0]) for query in queries]
  np.testing.assert_array_equal(np.stack(state, axis=1), expected)
  np.testing.assert_array_equal(
    jax.jit(constraint.allowed)(state), arrays[f"next_count_{kind}"] > 0
  )


def test_the_end_is_allowed_where_the_corpus_goes_no_further():
  index = fm_index.build([[3, 4], [3, 4, 5]], 6)

  def allowed(tokens, **options):
    constraint = substrings.within(index, **options)
    state = constraint.initial()
    for token in tokens:
      state = constraint.advance(state, jnp.asarray(token))
    return np.flatnonzero(constraint.allowed(state)).tolist()

  assert allowed([]) == [3, 4, 5]
  assert allowed([3, 4]) == [5]
  assert allowed([3, 4, 5]) == allowed([5, 4]) == []
  assert allowed([3, 4, 5], end_token=0) == allowed([5, 4], end_token=0) == [0]
  assert allowed([3, 4], end_token=0) == [5]
  assert allowed([3, 4], end_token=0, always_end=True) == [0, 5]


@pytest.mark.slow
def test_all_that_is_generated_occurs_in_the_corpus():
  documents = [b"in the beginning", b"the end of the thing", b"begin then"]
  index = fm_index.build(documents, 256)
  config = nn.NetworkConfig(nn.StackConfig("gru", d_model=8, num_layers=1))
  network = nn.SequenceNetwork(config, 256, 256)
  prompt = jnp.asarray([[65], [66]])
  variables = jax.jit(network.init)(jax.random.key(0), prompt)
  found = generation.beam_search(
    network,
    variables,
    prompt,
    9,
    beams=8,
    groups=2,
    strength=1.0,
    end_token=0,
    constraint=substrings.within(index, end_token=0),
  )
  texts = {
    bytes(row).rstrip(b"\0")
    for row in np.asarray(found.tokens, np.uint8).reshape(-1, 9)
  }
  for text in texts:
    assert text
    assert any(text in document for document in documents)
    assert index.count(text) > 0
  assert len(texts) > 8


def test_bad_options():
  index = fm_index.build([[3, 4]], 6)
  with pytest.raises(ValueError, match="index: got 'str', expected fm_index"):
    substrings.within("a text")
  with pytest.raises(ValueError, match="end_token: got 6, expected an integer"):
    substrings.within(index, end_token=6)
  with pytest.raises(ValueError, match="always_end: got True, expected False"):
    substrings.within(index, always_end=True)
