"""Generation of networks that begin with tuned states."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxseq import generation
from jaxseq.adapt import initial_states
from jaxseq.generation import draft_model
from jaxseq.generation import recycling
from jaxseq.generation import speculative
from tests.generation import networks

CONFIG = generation.EngineConfig(slots=2, lines=2, chunk=4, steps=3)
KEY = jax.random.key(0)
# Around chunks of four, two that begin alike, and slots that are used again.
LENGTHS = 1, 3, 4, 5, 17, 17, 9


def _tuned(*mixers, size=1.0, dtype="float32"):
  _, variables = networks.make(*mixers)
  network, _ = networks.make(*mixers, dtype=dtype)
  variables = jax.tree.map(lambda leaf: leaf.astype(dtype), variables)
  zeros = initial_states.parameters(network, variables)
  states = {
    path: size * jax.random.normal(KEY, leaf.shape, dtype)
    for path, leaf in zeros.items()
  }
  tuned = initial_states.attach(network, variables, states)
  return network, variables, tuned


def _prompts():
  rng = np.random.default_rng(0)
  long = rng.integers(networks.VOCAB, size=17)
  prompts = [rng.integers(networks.VOCAB, size=n) for n in LENGTHS]
  prompts[4][:], prompts[5][:16] = long, long[:16]
  return prompts


def _expected(network, variables, tuned, prompts, length=6):
  """Each prompt alone, from states that are handed over."""
  rows = []
  for seed, prompt in enumerate(prompts):
    states = network.initial_state((1,), variables=tuned)
    tokens, _ = generation.generate(
      network,
      variables,
      prompt[None],
      length,
      KEY,
      states=states,
      seeds=np.array([seed]),
    )
    rows.append(np.asarray(tokens[0]))
  return rows


@pytest.mark.slow
@pytest.mark.parametrize(
  "name",
  ["gru", *(pytest.param(n, marks=pytest.mark.slow) for n in ("mamba2", "s5"))],
)
def test_prompts_begin_with_them(name):
  _check_prompts(*_tuned(name))


@pytest.mark.slow
@pytest.mark.usefixtures("x64")
def test_prompts_begin_with_them_in_float64():
  network, variables, tuned = _tuned("mamba2", size=30.0, dtype="float64")
  logits, _ = network.apply(tuned, jnp.zeros((1, 2), jnp.int32))
  assert logits.dtype == jnp.float64
  _check_prompts(network, variables, tuned)


def _check_prompts(network, variables, tuned):
  """Asserts that rows are what `generate` makes of states handed over."""
  prompts = _prompts()
  expected = _expected(network, variables, tuned, prompts)
  seeds = np.arange(len(prompts))
  ragged, _ = generation.generate(network, tuned, prompts, 6, KEY, seeds=seeds)
  np.testing.assert_array_equal(ragged, expected)
  fresh, _ = generation.generate(
    network, variables, prompts, 6, KEY, seeds=seeds
  )
  assert not np.array_equal(fresh, expected)
  for cache in (None, generation.PrefixCache(2**20, least=2)):
    engine = generation.Engine(network, tuned, CONFIG, key=KEY, cache=cache)
    requests = [
      generation.Request(prompt, 6, seed=seed)
      for seed, prompt in enumerate(prompts)
    ]
    # A second time behind what was kept.
    for _ in range(1 if cache is None else 2):
      rows = [rows[0].tokens for rows in engine.run(requests)]
      np.testing.assert_array_equal(rows, expected)
  assert cache.hits
  with pytest.raises(ValueError, match="cache: .* of other variables"):
    generation.Engine(network, variables, CONFIG, cache=cache)


@pytest.mark.slow
def test_drafts_begin_with_them():
  network, variables, tuned = _tuned("gru")
  prompts = _prompts()
  expected = _expected(network, variables, tuned, prompts)
  seeds = np.arange(len(prompts))
  drafted = speculative.generate(
    network,
    tuned,
    prompts,
    6,
    KEY,
    draft=recycling.Recycling(recycling.SMALL_TREE, candidates=3),
    seeds=seeds,
  )
  np.testing.assert_array_equal(drafted.tokens, expected)
  small, _, small_tuned = _tuned("elman")
  greedy = generation.Sampling(temperature=0)
  requests = [generation.Request(p, 6, sampling=greedy) for p in prompts]
  alone = generation.Engine(network, tuned, CONFIG).run(requests)
  drafts = draft_model.DraftModel(small)
  both = generation.Engine(
    network,
    tuned,
    CONFIG,
    drafts=drafts,
    memory=draft_model.Memory(small_tuned),
    cache=generation.PrefixCache(2**20),
  )
  for _ in range(2):
    for rows, others in zip(both.run(requests), alone):
      np.testing.assert_array_equal(rows[0].tokens, others[0].tokens)


def test_a_prompt_of_steps_is_that_of_a_sequence():
  network, _, tuned = _tuned("gru", size=0.1)
  prompt = jnp.arange(5)[None] % networks.VOCAB
  reset = jnp.zeros(prompt.shape, bool)
  flagged = generation.read_prefix(network, tuned, prompt, reset=reset)
  whole = generation.read_prefix(network, tuned, prompt)
  np.testing.assert_allclose(flagged.logits, whole.logits, atol=1e-5)
