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
  with pytest.raises(
    ValueError, match="length: got 0, expected an integer of at least 1"
  ):
    generation.generate(
      network, variables, jnp.ones((1,), jnp.int32), 0, jax.random.key(0)
    )


def test_prompts_of_different_lengths_are_each_as_alone():
  """Shorter ones at the ends of their rows, with a reset at the first token."""
  network, variables = _network()
  prompts = [[5, 2], [1, 3, 6, 2]]
  rows = np.zeros((2, 4), np.int32)
  reset = np.zeros((2, 4), bool)
  for row, flags, prompt in zip(rows, reset, prompts):
    row[-len(prompt) :] = prompt
    flags[-len(prompt)] = True
  options = {"temperature": 0.0}
  key = jax.random.key(1)
  tokens, _ = generation.generate(
    network, variables, rows, 5, key, reset=reset, **options
  )
  for row, prompt in zip(tokens, prompts):
    alone, _ = generation.generate(
      network, variables, jnp.array(prompt), 5, key, **options
    )
    np.testing.assert_array_equal(row, alone)


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
    ([[1], [1, 2]], {}, "rows of different lengths"),
    ([[1]], {"stop": 7}, "stop: got 7, expected an integer from 0 to 6"),
  ],
)
def test_tokens_are_those_of_the_network(prompt, options, message):
  network, variables = _network()
  with pytest.raises(ValueError, match=message):
    generation.generate(
      network, variables, prompt, 2, jax.random.key(0), **options
    )
