"""Tests of what generation says of networks, variables, keys and options."""

import types

import jax
import numpy as np
import pytest

from jaxseq import generation
from jaxseq import nn
from jaxseq.generation import draft_model
from jaxseq.generation import prefix_cache
from jaxseq.generation import recycling
from jaxseq.generation import speculative

_STACK = nn.StackConfig("gru", d_model=4, num_layers=1)


def make(outputs=9, vocab_size=9, **options):
  return nn.SequenceNetwork(
    nn.NetworkConfig(_STACK, **options), outputs, vocab_size
  )


_NETWORK = make()


@pytest.fixture(scope="module")
def variables():
  return jax.jit(_NETWORK.init)(jax.random.key(0), np.zeros((1, 1), np.int32))


@pytest.mark.parametrize(
  ("network", "message"),
  [
    (types.SimpleNamespace(network=_NETWORK), "network: got 'SimpleNamespace'"),
    (make(vocab_size=None), "network: got 'SequenceNetwork of vectors'"),
    (make(pooling="last"), "with pooling 'last'., expected pooling 'none'"),
    (make(10), "num_outputs: got 10, expected at most the vocab_size, 9"),
  ],
)
def test_networks_that_generate_no_tokens(variables, network, message):
  with pytest.raises(ValueError, match=message):
    generation.generate(network, variables, [1, 2], 3, jax.random.key(0))


@pytest.mark.parametrize(
  ("other", "message"),
  [
    (None, "variables: got 'NoneType', expected what `network.init` returns"),
    ({}, "variables: got 'dict of nothing'"),
    ({"kernel": 1}, "variables: got 'dict of kernel'"),
  ],
)
def test_variables_of_no_network(other, message):
  with pytest.raises(ValueError, match=message):
    generation.read_prefix(_NETWORK, other, [1, 2])


@pytest.mark.parametrize(
  ("changes", "message"),
  [
    ({"prompt": ["ab"]}, "prompt: got 'str', expected tokens"),
    ({"prompt": [b"ab"]}, "prompt: got 'bytes', expected tokens"),
    ({"prompt": [0.5]}, "prompt: got dtype float64, expected integer tokens"),
    ({"key": 0}, "key: got 'int', expected one random key: jax.random.key"),
    ({"key": jax.random.PRNGKey(0)}, "key: got dtype uint32, shape .2,."),
    ({"key": jax.random.split(jax.random.key(0))}, "key: got dtype key<"),
    ({"sampling": {"top_k": 1}}, "sampling: got 'dict', expected Sampling"),
    ({"sampling": ["a"]}, "sampling: got 'str', expected Sampling"),
    ({"seeds": [0.5, 1], "prompt": [[1], [2]]}, "seeds: got dtype float64"),
  ],
)
def test_options_of_other_kinds(variables, changes, message):
  given = {"prompt": [1, 2], "length": 3, "key": jax.random.key(0)} | changes
  for generate in (generation.generate, speculative.generate):
    with pytest.raises(ValueError, match=message):
      generate(_NETWORK, variables, **given)


@pytest.mark.parametrize(
  ("make_engine", "message"),
  [
    (
      lambda *both: generation.Engine(*both, 4),
      "config: got 'int', expected En",
    ),
    (lambda *both: generation.Engine(*both, cache=3), "cache: got 'int'"),
    (
      lambda *both: generation.Engine(*both, patterns=True),
      "patterns: got 'bool'",
    ),
    (
      lambda *both: generation.Engine(*both).run(generation.Request([1], 2)),
      "requests: got 'Request', expected a list",
    ),
    (lambda *both: generation.Engine(*both).run(["a"]), "request: got 'str'"),
    (
      lambda *both: generation.complete(
        *both, "In the", 4, codec=generation.Codec()
      ),
      "prompts: got 'In the', expected a list",
    ),
    (
      lambda *both: generation.complete(
        *both, ["In"], 4, codec=generation.Codec(), stop_texts="ab"
      ),
      "stop_texts: got 'ab', expected a list",
    ),
    (
      lambda *both: generation.complete(*both, ["In"], 4, codec="bytes"),
      "codec: got 'str', expected Codec",
    ),
    (
      lambda *both: generation.complete(*both, [[1]], 4, callback=3),
      "callback: got 'int', expected a function",
    ),
    (
      lambda *both: speculative.generate(
        *both, [1], 4, jax.random.key(0), draft="recycling"
      ),
      "draft: got 'str', expected a draft",
    ),
    (
      lambda *_: recycling.Recycling("small"),
      "tree: got 'str', expected a Tree",
    ),
    (
      lambda *both: speculative.generate(
        *both,
        [1],
        4,
        jax.random.key(0),
        draft=draft_model.DraftModel("gru"),
        memory=draft_model.Memory({}),
      ),
      "network: got 'str', expected a network with",
    ),
  ],
)
def test_engines_and_drafts_of_other_kinds(variables, make_engine, message):
  with pytest.raises(ValueError, match=message):
    make_engine(_NETWORK, variables)


@pytest.mark.slow
def test_seeds_of_drafts_may_be_a_list(variables):
  given = _NETWORK, variables, [[1, 2], [3, 4]], 5, jax.random.key(0)
  plain, _ = generation.generate(*given, seeds=[7, 3])
  draft = recycling.Recycling(recycling.SMALL_TREE, candidates=3)
  found = speculative.generate(*given, seeds=[7, 3], draft=draft)
  np.testing.assert_array_equal(found.tokens, plain)


@pytest.mark.slow
def test_a_cache_is_of_one_network_and_its_variables(variables):
  cache = prefix_cache.PrefixCache(2**20)
  request = generation.Request([1, 2, 3], 2)
  generation.Engine(_NETWORK, variables, cache=cache).run([request])
  # Another engine of the same network shares it.
  generation.Engine(_NETWORK, variables, cache=cache).run([request])
  assert cache.hits
  other = jax.tree.map(lambda leaf: 2 * leaf, variables)
  with pytest.raises(ValueError, match="cache: got 'states of another network"):
    generation.Engine(_NETWORK, other, cache=cache)
  cache.clear()
  assert (len(cache), cache.nbytes) == (0, 0)
  alone = generation.Engine(_NETWORK, other).run([request])
  found = generation.Engine(_NETWORK, other, cache=cache).run([request])
  np.testing.assert_array_equal(found[0][0].tokens, alone[0][0].tokens)
