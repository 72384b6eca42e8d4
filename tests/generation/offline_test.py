import dataclasses
import functools

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxseq import generation
from jaxseq import nn


@functools.cache
def _network():
  config = nn.NetworkConfig(nn.StackConfig("gru", d_model=6, num_layers=1))
  network = nn.SequenceNetwork(config, num_outputs=7, vocab_size=7)
  variables = jax.jit(network.init)(
    jax.random.key(0), jnp.zeros((1, 1), jnp.int32)
  )
  return network, variables


def test_greedy_is_the_argmax_of_the_whole_prefix():
  network, variables = _network()
  prompt = jnp.array([[1, 2, 3], [4, 5, 6]])
  tokens, states = generation.generate(
    network, variables, prompt, 5, jax.random.key(1), temperature=0.0
  )
  assert tokens.shape == (2, 5)
  # All but the last token have been read, and all outputs see what is before.
  prefix = np.concatenate([prompt, tokens[:, :-1]], axis=1)
  logits, last = jax.jit(network.apply)(variables, prefix)
  np.testing.assert_array_equal(tokens, np.argmax(logits[:, 2:], axis=-1))
  # One more float32 rounding per step.
  jax.tree.map(
    lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-5),
    states,
    last,
  )


@pytest.mark.slow
def test_a_prefix_is_read_once_for_many_continuations():
  network, variables = _network()
  prompt = jnp.array([[1, 2, 3], [4, 5, 6]])
  prefix = generation.read_prefix(network, variables, prompt)
  options = {"temperature": 0.7, "stop": 2}
  key = jax.random.key(1)
  alone = generation.generate(network, variables, prompt, 5, key, **options)
  got = generation.continue_prefix(
    network, variables, prefix, 5, key, **options
  )
  chex.assert_trees_all_equal(got, alone)
  many, states = generation.continue_prefix(
    network, variables, prefix, 5, key, count=64
  )
  assert many.shape == (64, 2, 5)
  assert jax.tree.leaves(states)[0].shape[:2] == (64, 2)
  # Seven tokens are about as likely as each other in an untrained network.
  assert len(np.unique(many[:, 0], axis=0)) > 32
  greedy, _ = generation.continue_prefix(
    network, variables, prefix, 5, key, count=3, temperature=0
  )
  np.testing.assert_array_equal(greedy[0], greedy[2])
  with pytest.raises(ValueError, match="count: got 0, expected"):
    generation.continue_prefix(network, variables, prefix, 5, key, count=0)


@pytest.mark.slow
def test_generation_goes_on_from_states():
  network, variables = _network()
  prompt = jnp.array([1, 2, 3, 4])
  options = {"temperature": 0.0}
  whole, _ = generation.generate(
    network, variables, prompt, 6, jax.random.key(1), **options
  )
  first, states = generation.generate(
    network, variables, prompt, 3, jax.random.key(1), **options
  )
  rest, _ = generation.generate(
    network,
    variables,
    first[-1:],
    3,
    jax.random.key(1),
    states=states,
    **options,
  )
  np.testing.assert_array_equal(jnp.concatenate([first, rest]), whole)


def test_bad_prompt():
  network, variables = _network()
  empty = jnp.zeros((2, 0), jnp.int32)
  with pytest.raises(ValueError, match="with at least one token"):
    generation.generate(network, variables, empty, 3, jax.random.key(0))
  with pytest.raises(ValueError, match="prompt: got 'str', expected tokens"):
    generation.generate(network, variables, "In the", 3, jax.random.key(0))
  with pytest.raises(ValueError, match="option: got 'temp'.*temperature"):
    generation.generate(
      network, variables, jnp.ones((1, 2), int), 3, jax.random.key(0), temp=1
    )
  with pytest.raises(
    ValueError, match="length: got 0, expected an integer of at least 1"
  ):
    generation.generate(
      network, variables, jnp.ones((1,), jnp.int32), 0, jax.random.key(0)
    )


@pytest.mark.slow
def test_prompts_of_different_lengths_are_each_as_alone():
  """As a list, at the beginnings of rows, and at their ends with resets."""
  network, variables = _network()
  prompts = [[5, 2], [1, 3, 6, 2]]
  left = np.full((2, 4), 6)
  right, reset = np.zeros((2, 4), np.int32), np.zeros((2, 4), bool)
  for i, prompt in enumerate(prompts):
    left[i, : len(prompt)] = prompt
    right[i, -len(prompt) :] = prompt
    reset[i, -len(prompt)] = True
  key = jax.random.key(1)
  options = {"repetition_penalty": 1.5, "temperature": 0.7}
  rows = [
    generation.generate(network, variables, prompt, 8, key, **given, **options)
    for prompt, given in [
      (prompts, {}),
      (left, {"lengths": [2, 4]}),
      (right, {"reset": reset}),
    ]
  ]
  chex.assert_trees_all_equal(*rows)
  for i, prompt in enumerate(prompts):
    alone, _ = generation.generate(
      network, variables, jnp.array(prompt), 8, key, seeds=i, **options
    )
    np.testing.assert_array_equal(rows[0][0][i], alone)


def test_a_row_does_not_depend_on_its_batch():
  network, variables = _network()
  prompt, key = jnp.array([[1, 2], [3, 4], [1, 2]]), jax.random.key(0)
  run = functools.partial(generation.generate, network, variables)
  together, _ = run(prompt, 12, key, seeds=[7, 2**31, 8])
  assert (together[0] != together[2]).any()
  for i, seed in enumerate([7, 2**31, 8]):
    alone, _ = run(prompt[i : i + 1], 12, key, seeds=[seed])
    np.testing.assert_array_equal(together[i], alone[0])
  # Rows may have options of their own.
  mixed, _ = run(
    prompt,
    12,
    key,
    seeds=[7, 2**31, 8],
    sampling=[
      generation.Sampling(),
      generation.Sampling(temperature=0, presence_penalty=2.0, min_length=3),
      generation.Sampling(top_k=2, stop=(0, 1)),
    ],
  )
  np.testing.assert_array_equal(mixed[0], together[0])
  alone, _ = run(prompt[1], 12, key, temperature=0, presence_penalty=2.0)
  np.testing.assert_array_equal(mixed[1], alone)


def test_a_stop_token_ends_its_row_alone():
  network, variables = _network()
  prompt, key = jnp.array([[1, 2], [3, 4], [5, 6]]), jax.random.key(0)
  free, _ = generation.generate(network, variables, prompt, 12, key)
  stop = int(free[0, 3])
  ended, _ = generation.generate(network, variables, prompt, 12, key, stop=stop)
  for row, whole in zip(np.asarray(ended), np.asarray(free)):
    places = np.flatnonzero(whole == stop)
    end = places[0] if len(places) else 12
    np.testing.assert_array_equal(row[:end], whole[:end])
    assert (row[end:] == stop).all()


def test_calls_share_a_program():
  network, variables = _network()
  prompt = jnp.array([[1, 2, 3]])
  generation.generate(network, variables, prompt, 4, jax.random.key(0))
  count = generation.offline._generate._cache_size()
  generation.generate(network, variables, prompt + 1, 4, jax.random.key(1))
  assert generation.offline._generate._cache_size() == count


@pytest.mark.parametrize(
  ("prompt", "options", "message"),
  [
    ([[1, 9]], {}, "prompt: got 9, expected tokens from 0 to 6"),
    ([[1, -1]], {}, "prompt: got -1, expected tokens from 0 to 6"),
    ([[1], []], {}, "lengths: got 0, expected integers from 1 to 1"),
    ([[1.5], [1, 2]], {}, "prompt: got dtype float64, expected integer tokens"),
    (
      [[1], [1, 2]],
      {"reset": np.zeros((2, 2), bool)},
      "got rows of different lengths and reset, expected rows of one length",
    ),
    ([[1, 2]], {"lengths": [3]}, "lengths: got 3, expected integers from 1 to"),
    ([[1, 2]], {"seeds": [1, 2]}, r"seeds: got shape \(2,\), expected \(1,\)"),
    (
      [[1], [1, 2]],
      {"sampling": [generation.Sampling()] * 3},
      "sampling: got '3 for prompts of shape",
    ),
    (
      [[1]],
      {"sampling": generation.Sampling(), "top_k": 2},
      r"expected None with other options \(top_k\)",
    ),
    ([[1]], {"stop": 7}, "stop: got 7, expected an integer from 0 to 6"),
  ],
)
def test_tokens_are_those_of_the_network(prompt, options, message):
  network, variables = _network()
  with pytest.raises(ValueError, match=message):
    generation.generate(
      network, variables, prompt, 2, jax.random.key(0), **options
    )


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class _Alternating:
  """Even and odd tokens in turn."""

  even: jax.Array

  def initial(self, batch):
    return jnp.zeros(batch, bool)

  def allowed(self, state):
    return self.even ^ state[..., None]

  def advance(self, state, token):
    return token % 2 == 0


def test_a_constraint_says_which_tokens_may_come():
  network, variables = _network()
  tokens, _ = generation.generate(
    network,
    variables,
    jnp.array([[1, 2], [3, 4]]),
    9,
    jax.random.key(0),
    constraint=_Alternating(jnp.arange(7) % 2 == 0),
  )
  np.testing.assert_array_equal(tokens % 2, np.arange(9)[None] % 2 + [[0]] * 2)


def test_at_least_so_many_tokens_before_a_stop():
  network, variables = _network()
  prompt, key = jnp.array([[1, 2], [3, 4], [5, 6]]), jax.random.key(0)
  tokens, _ = generation.generate(
    network, variables, prompt, 40, key, stop=(0, 1, 2), min_length=10
  )
  ends = np.argmax(np.asarray(tokens) < 3, axis=1)
  assert ends.min() == 10
