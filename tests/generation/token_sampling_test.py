import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from jaxseq import generation
from jaxseq.generation import token_sampling

LOGITS = np.log([0.4, 0.25, 0.15, 0.1, 0.06, 0.04])


def _probabilities(temperature=1.0, top_k=6, top_p=1.0, min_p=0.0, **unused):
  """What the options leave of LOGITS, which fall."""
  p = np.exp(LOGITS / temperature)
  p /= p.sum()
  p[top_k:] = 0
  p /= p.sum()
  p[np.cumsum(p) - p >= top_p] = 0
  p[p < min_p * p[0]] = 0
  return p / p.sum()


OPTIONS = [
  {},
  {"temperature": 0.5},
  {"temperature": 2.0, "top_k": 4},
  {"top_p": 0.7},
  {"min_p": 0.3},
  {"top_k": 5, "top_p": 0.8, "temperature": 1.5},
  {"top_k": 5, "min_p": 0.2, "temperature": 0.8},
]


def _check_frequencies(tokens, expected):
  """Compares by chi-square; at this level one seed in a thousand fails."""
  counts = np.bincount(tokens, minlength=len(expected))
  assert counts[expected == 0].sum() == 0
  there = expected > 0
  if there.sum() > 1:
    test = stats.chisquare(counts[there], len(tokens) * expected[there])
    assert test.pvalue > 1e-3


def test_samples_follow_the_distribution():
  """All options in one batch, whose rows do not touch each other."""
  count = 4000
  options = [token_sampling.Sampling(**each) for each in OPTIONS]
  controls = token_sampling.make_controls(options, 6)
  controls = jax.tree.map(lambda leaf: np.repeat(leaf, count, 0), controls)
  rows = len(OPTIONS) * count
  logits = jnp.broadcast_to(jnp.array(LOGITS), (rows, 6))
  keys = token_sampling.row_keys(jax.random.key(0), np.arange(rows))
  processed = token_sampling.process_logits(logits, controls)
  tokens = np.asarray(
    token_sampling.draw(keys, processed, controls.temperature)
  )
  for each, own in zip(OPTIONS, tokens.reshape(-1, count)):
    _check_frequencies(own, _probabilities(**each))
  one = generation.sample(jax.random.key(0), logits[:count], top_k=2)
  _check_frequencies(np.asarray(one), _probabilities(top_k=2))
  greedy = generation.sample(jax.random.key(0), logits[:9], temperature=0.0)
  np.testing.assert_array_equal(greedy, np.zeros(9))


def _kept(logits, top_k=None, top_p=None, min_p=0.0, **unused):
  """Which logits are kept, by one sort of all."""
  ranked = np.sort(logits)[::-1]
  kth = ranked[(top_k or len(ranked)) - 1]
  p = np.where(ranked < kth, 0, np.exp(ranked))
  p /= p.sum()
  least = ranked[np.cumsum(p) - p < (top_p or np.inf)].min()
  share = np.log(min_p) if min_p else -np.inf
  return logits >= max(kth, least, ranked[0] + share)


def test_truncation_of_a_large_vocabulary_sorts_all_only_if_it_must():
  draw, size = np.random.default_rng(0), 5000
  rows = [
    ({"top_p": 0.9}, 4 * draw.normal(size=size)),
    # The largest thousand have less than half of the probability.
    ({"top_p": 0.9}, draw.normal(size=size)),
    ({"top_k": 7}, draw.normal(size=size)),
    ({"top_k": 3000}, draw.normal(size=size)),
    ({"top_k": 3000, "top_p": 0.5}, draw.normal(size=size)),
    # Equal logits are kept together.
    ({"top_k": 1000, "top_p": 0.9}, draw.integers(0, 3, size) + 0.0),
    ({"min_p": 0.05}, draw.normal(size=size)),
    ({"temperature": 1.0}, draw.normal(size=size)),
  ]
  with jax.enable_x64(True):
    for chosen in ([0, 2, 5, 6, 7], range(len(rows))):
      options, logits = zip(*(rows[i] for i in chosen))
      controls = token_sampling.make_controls(
        [token_sampling.Sampling(**each) for each in options], size
      )
      got = token_sampling.process_logits(jnp.array(logits), controls)
      want = [_kept(each, **how) for each, how in zip(logits, options)]
      np.testing.assert_array_equal(got > -np.inf, want)


@pytest.mark.slow
def test_draws_are_those_of_categorical_and_keys_can_be_shared():
  keys = token_sampling.row_keys(jax.random.key(0), np.arange(6)).reshape(2, 3)
  logits = jax.random.normal(jax.random.key(1), (2, 3, 5, 9))
  one = token_sampling.draw(keys[0, 0], logits, 1.0)
  np.testing.assert_array_equal(one, jax.random.categorical(keys[0, 0], logits))
  each = token_sampling.draw(keys, logits[:, :, 0], jnp.array([[1.0], [0.0]]))
  drawn = jax.vmap(jax.random.categorical)(keys[0], logits[0, :, 0])
  np.testing.assert_array_equal(each[0], drawn)
  np.testing.assert_array_equal(each[1], jnp.argmax(logits[1, :, 0], axis=-1))
  # Entries that share a key draw as if each had it.
  sharing = np.array([0, 2, 2, 1, 0])
  logits = logits[:, 0]
  shared = token_sampling.draw(keys, logits, 0.7 * jnp.ones((2, 1)), sharing)
  own = token_sampling.draw(keys[:, sharing], logits, 0.7 * jnp.ones((2, 1)))
  np.testing.assert_array_equal(shared, own)


def test_of_equal_logits_the_lowest_token_is_the_most_probable():
  inf = np.inf
  logits = [[0.0, 2.0, 2.0], [-inf, -inf, -inf], [-1.0, -inf, -1.0]]
  found = token_sampling.most_probable(jnp.array(logits))
  assert found.tolist() == [1, 0, 0]


def test_penalties_count_what_a_row_holds():
  logits = jnp.array([[1.0, -1.0, 2.0, -2.0, 0.5]] * 2)
  history = token_sampling.make_history(jnp.array([[0, 1], [4, 4]]), 5)
  for token in ([1, 2], [1, 3]):
    history = token_sampling.extend_history(history, jnp.array(token))
  options = token_sampling.Sampling(
    repetition_penalty=2.0, presence_penalty=0.25, frequency_penalty=0.5
  )
  got = token_sampling.process_logits(
    logits, token_sampling.make_controls(options, 5), history=history
  )
  np.testing.assert_allclose(
    got,
    [[0.5, -2 - 0.25 - 1, 2, -2, 0.5], [1, -1, 1 - 0.75, -4 - 0.75, 0.25]],
  )


def test_an_end_waits_for_the_least_length_unless_nothing_else_is_allowed():
  options = token_sampling.Sampling(min_length=2, stop=1)
  allowed = jnp.array([[True, True, False], [False, True, False]])
  got = token_sampling.process_logits(
    jnp.zeros((2, 3)),
    token_sampling.make_controls(options, 3),
    length=jnp.array([1, 1]),
    allowed=allowed,
  )
  inf = np.inf
  np.testing.assert_array_equal(got, [[0, -inf, -inf], [-inf, 0, -inf]])
  got = token_sampling.process_logits(
    jnp.zeros((2, 3)),
    token_sampling.make_controls(options, 3),
    length=jnp.array([2, 1]),
  )
  np.testing.assert_array_equal(got, [[0, 0, 0], [0, -inf, 0]])


@pytest.mark.parametrize(
  ("options", "message"),
  [
    (
      {"temperature": -1.0},
      "temperature: got -1.0, expected a finite number of at least 0",
    ),
    ({"top_k": 8}, "top_k: got 8, expected an integer from 1 to 7"),
    (
      {"top_p": 0.0},
      "top_p: got 0.0, expected a number above 0 and of at most 1",
    ),
    ({"min_p": 1.5}, "min_p: got 1.5, expected a finite number from 0 to 1"),
    ({"stop": 7}, "stop: got 7, expected an integer from 0 to 6"),
    (
      {"repetition_penalty": 0},
      "repetition_penalty: got 0, expected a finite number above 0",
    ),
  ],
)
def test_bad_options(options, message):
  with pytest.raises(ValueError, match=message):
    generation.sample(jax.random.key(0), jnp.zeros((2, 7)), **options)
