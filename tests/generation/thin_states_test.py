"""Thin keys of prompts in generation, engines and drafts."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxseq import generation
from jaxseq import nn
from jaxseq import recurrence
from jaxseq.generation import speculative
from jaxseq.mixers.keys_and_values import thin_keys

VOCAB = 11
WINDOW = 96
# More than the prompts' last 32 keys, and less than what is drawn.
SIZES = {"key_channels": 0.6, "whole_keys": 36}
CONFIG = generation.EngineConfig(slots=2, lines=1, chunk=16, steps=4)
THIN = dataclasses.replace(CONFIG, **SIZES)


@functools.cache
def problem(*names, scan_layers=False, window=WINDOW):
  """A hybrid whose outputs depend on its keys, and its variables."""
  attention = {"heads": 2, "kv_heads": 1, "d_head": 10, "window": window}
  stack = nn.StackConfig(
    names[0],
    d_model=8,
    num_layers=len(names),
    mixer_options=attention if names[0] == "attention" else {},
    hybrid={name: {} for name in names[1:] if name != names[0]},
    scan_layers=scan_layers,
  )
  network = nn.SequenceNetwork(
    nn.NetworkConfig(stack), num_outputs=VOCAB, vocab_size=VOCAB
  )
  variables = jax.jit(network.init)(
    jax.random.key(0), jnp.zeros((1, 1), jnp.int32)
  )

  def larger(path, leaf):
    name = path[-1].key
    return 3 * leaf if name in ("W_q", "W_k", "W_v", "W_o") else leaf

  return network, jax.tree_util.tree_map_with_path(larger, variables)


def prompt(length, seed=0):
  rng = np.random.default_rng(seed)
  return rng.integers(0, VOCAB, length).astype(np.int32)


def drawn(network, variables, tokens, length, **options):
  tokens, states = generation.generate(
    network,
    variables,
    tokens,
    length,
    jax.random.key(0),
    temperature=0,
    **options,
  )
  return np.asarray(tokens), states


def nbytes(states):
  return sum(leaf.nbytes for leaf in jax.tree.leaves(states))


def test_caches_of_prompts_are_narrower_and_recurrent_states_are_untouched():
  network, variables = problem("attention", "gru")
  tokens = np.stack([prompt(80), prompt(80, 1)])
  whole = generation.read_prefix(network, variables, tokens)
  thin = generation.read_prefix(network, variables, tokens, **SIZES)
  cache, gru = thin.states
  # Rounding of float32: one prompt is read behind an empty cache, one without.
  close = functools.partial(np.testing.assert_allclose, rtol=1e-4, atol=1e-5)
  close(gru, whole.states[1])
  close(thin.logits, whole.logits)
  assert isinstance(cache, recurrence.ThinWindow)
  assert cache.thin_keys.shape == (2, WINDOW - 36, 1, 6)
  values = np.concatenate([cache.thin_values, cache.values], axis=1)
  close(values, whole.states[0].values)
  saved = nbytes(whole.states[0]) - nbytes(cache)
  # Four bytes of four channels of each thin key, but for the channels' numbers.
  assert saved == 2 * (4 * 4 * (WINDOW - 36) - 4 * 6)
  # They are of use: the tokens that follow are others.
  expected, _ = drawn(network, variables, tokens, 30)
  got, states = drawn(network, variables, tokens, 30, **SIZES)
  assert (got != expected).any()
  assert isinstance(states[0], recurrence.ThinWindow)


def test_all_channels_are_the_same_program_and_numbers():
  network, variables = problem("attention", "gru")
  tokens = prompt(80)[None]
  expected, states = drawn(network, variables, tokens, 20)
  size = generation.offline._generate._cache_size()
  got, same = drawn(network, variables, tokens, 20, key_channels=1.0)
  assert generation.offline._generate._cache_size() == size
  np.testing.assert_array_equal(got, expected)
  assert jax.tree.structure(same) == jax.tree.structure(states)


def test_steps_give_what_zeros_in_the_keys_give():
  """Beside attention over whole keys, of which the channels are cleared."""
  network, variables = problem("attention")
  tokens = prompt(50)[None]
  thin = generation.read_prefix(
    network, variables, tokens, key_channels=0.6, whole_keys=90
  )
  full = generation.read_prefix(network, variables, tokens, key_channels=1.0)
  every = generation.read_prefix(
    network, variables, tokens, key_channels=0.999, whole_keys=90
  )
  # Nothing is dropped of 10 channels, so that these are whole keys.
  assert every.states[0].thin_keys.shape[-1] == 10
  step = jax.jit(functools.partial(network.apply, method="step"))
  old = every.states[0]
  stays = np.any(
    np.asarray(thin.states[0].channels)[..., None] == np.arange(10), axis=-2
  )
  cleared = np.array(old.keys)
  cleared[:, : 90 - 32] *= stays[:, None]
  zeros = old._replace(keys=jnp.asarray(cleared))
  states = [thin.states, (zeros,), full.states, every.states]
  for token in prompt(8, 2):
    logits = []
    for i, state in enumerate(states):
      y, states[i] = step(variables, jnp.array([token]), state)
      logits.append(y)
    # Rounding of float32, of angles of other positions too.
    np.testing.assert_allclose(logits[0], logits[1], rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(logits[2], logits[3], rtol=1e-4, atol=1e-4)
  assert np.abs(logits[0] - logits[2]).max() > 1e-3


@pytest.mark.parametrize("length", [80, 41])
def test_engines_draw_what_generate_draws(length):
  network, variables = problem("attention", "gru")
  prompts = [prompt(length), prompt(length - 7, 1), prompt(5, 2)]
  engine = generation.Engine(network, variables, THIN)
  greedy = generation.Sampling(temperature=0)
  results = engine.run(
    generation.Request(one, 60, sampling=greedy) for one in prompts
  )
  for tokens, (result,) in zip(prompts, results, strict=True):
    expected, _ = drawn(network, variables, tokens[None], 60, **SIZES)
    np.testing.assert_array_equal(result.tokens, expected[0])
  assert nbytes(engine._arrays.states) < nbytes(
    generation.Engine(network, variables, CONFIG)._arrays.states
  )


def test_prefixes_are_kept_whole_and_gone_on_from():
  """A longer prompt after one that is kept, and several continuations."""
  network, variables = problem("attention", "gru")
  cache = generation.PrefixCache(2**24)
  engine = generation.Engine(network, variables, THIN, cache=cache)
  first = prompt(64)
  longer = np.concatenate([first, prompt(13, 1)])
  greedy = generation.Sampling(temperature=0)
  for tokens in (first, longer, longer):
    ((one, two),) = engine.run(
      [generation.Request(tokens, 40, sampling=greedy, count=2)]
    )
    expected, _ = drawn(network, variables, tokens[None], 40, **SIZES)
    np.testing.assert_array_equal(one.tokens, expected[0])
    np.testing.assert_array_equal(two.tokens, expected[0])
  assert cache.hits == 2
  with pytest.raises(ValueError, match="cache: got 'states of another network"):
    generation.Engine(network, variables, CONFIG, cache=cache)
  # Another share is made of the same prompts.
  other = dataclasses.replace(THIN, key_channels=0.8)
  generation.Engine(network, variables, other, cache=cache)


@pytest.mark.parametrize(
  "scheme",
  [
    "nodes",
    *(pytest.param(x, marks=pytest.mark.slow) for x in ("paths", "levels")),
  ],
)
def test_drafts_draw_what_steps_draw(scheme):
  network, variables = problem("attention", "gru")
  tokens = np.stack([prompt(61), prompt(61, 1)])
  sizes = SIZES | {"whole_keys": 64}
  draft = generation.recycling.Recycling(generation.recycling.SMALL_TREE)
  result = speculative.generate(
    network,
    variables,
    tokens,
    30,
    jax.random.key(0),
    draft=draft,
    temperature=0,
    scheme=scheme,
    **sizes,
  )
  # The last token is read with the draft: that of the others is thin by then.
  prefix = generation.read_prefix(network, variables, tokens[:, :-1], **sizes)
  expected, _ = drawn(
    network, variables, tokens[:, -1:], 30, states=prefix.states
  )
  np.testing.assert_array_equal(result.tokens, expected)


@pytest.mark.parametrize(
  "kind", [pytest.param("recycling", marks=pytest.mark.slow), "model"]
)
def test_engines_with_drafts(kind):
  network, variables = problem("attention", "gru")
  options = {}
  if kind == "recycling":
    tree = generation.recycling.SMALL_TREE
    options["drafts"] = generation.recycling.Recycling(tree)
  else:
    small = problem("gru")
    options["drafts"] = generation.draft_model.DraftModel(small[0])
    options["memory"] = generation.draft_model.Memory(small[1])
  engine = generation.Engine(network, variables, THIN, **options)
  tokens = prompt(70)
  greedy = generation.Sampling(temperature=0)
  ((result,),) = engine.run([generation.Request(tokens, 40, sampling=greedy)])
  expected, _ = drawn(network, variables, tokens[None], 40, **SIZES)
  np.testing.assert_array_equal(result.tokens, expected[0])
  assert engine.passes <= engine.drawn


def test_scanned_layers():
  names = ("attention", "attention")
  network, variables = problem(*names, scan_layers=True)
  tokens = prompt(60)[None]
  thin = generation.read_prefix(network, variables, tokens, **SIZES)
  assert thin.states.thin_keys.shape == (1, 2, WINDOW - 36, 1, 6)
  got, _ = drawn(network, variables, tokens, 20, **SIZES)
  engine = generation.Engine(network, variables, THIN)
  greedy = generation.Sampling(temperature=0)
  ((result,),) = engine.run(
    [generation.Request(tokens[0], 20, sampling=greedy)]
  )
  np.testing.assert_array_equal(result.tokens, got[0])


def test_what_cannot_be_thin():
  network, variables = problem("gru")
  expected = "key_channels: got 0.6, expected 1 for a network in which no att"
  with pytest.raises(ValueError, match=expected):
    generation.Engine(network, variables, THIN)
  small = problem("attention", window=36)
  with pytest.raises(ValueError, match=f"{expected}.* 36 elements"):
    drawn(*small, prompt(8)[None], 2, **SIZES)
  with pytest.raises(
    ValueError, match="key_channels: got 0, expected a number"
  ):
    generation.EngineConfig(key_channels=0)
  with pytest.raises(
    ValueError, match="whole_keys: got 8, expected an integer"
  ):
    generation.EngineConfig(key_channels=0.5, whole_keys=8)
  thinning = THIN.thinning
  with pytest.raises(ValueError, match="expected 1 for networks other than"):
    thinning.observed(object(), {}, ())


def test_states_of_another_form_are_still_refused():
  network, variables = problem("attention", "gru")
  prefix = generation.read_prefix(network, variables, prompt(60)[None], **SIZES)
  thin, gru = prefix.states
  assert thin_keys.is_state(thin)
  with pytest.raises(ValueError, match="states: got"):
    drawn(network, variables, prompt(3)[None], 2, states=(gru, thin))
