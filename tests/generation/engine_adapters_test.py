"""Adapters of an engine: every row is what its own network gives alone."""

from flax import traverse_util
import jax
import numpy as np
import pytest

from jaxseq import generation
from jaxseq import nn
from jaxseq.adapt import lora
from jaxseq.generation import draft_model
from tests.generation import networks

SMALL = generation.EngineConfig(slots=2, lines=2, chunk=4, steps=3)
STEM = (1, 5, 2, 2, 6, 0, 3, 4, 1)


def _adapters(network, variables):
  """Two of other weights and ranks, of which one is DoRA's."""
  configs = {
    "plain": lora.Config(("in_proj",), rank=2, alpha=6.0),
    "sized": lora.Config(("in_proj", "W_v", "out_proj"), rank=3, dora=True),
  }

  @jax.jit
  def make():
    adapters = {
      name: lora.init(jax.random.key(0), network, variables, config)
      for name, config in configs.items()
    }
    return jax.tree.map(lambda leaf: leaf + 0.3, adapters)

  return make()


def _alone(network, merged, request):
  """Tokens of a request by a network with the adapter in its weights."""
  # Of one length, as others are another program.
  prompt = np.zeros((1, 12), np.int32)
  prompt[0, : len(request.prompt)] = request.prompt
  tokens, _ = generation.generate(
    network,
    merged,
    prompt,
    8,
    jax.random.key(0),
    lengths=[len(request.prompt)],
    seeds=[request.seed],
    sampling=request.sampling,
  )
  return np.asarray(tokens[0, : request.length])


@pytest.mark.parametrize(
  "drafts", [False, pytest.param(True, marks=pytest.mark.slow)]
)
def test_rows_are_those_of_their_own_network(drafts):
  network, variables = networks.make("mamba2", "attention")
  adapters = _adapters(network, variables)
  options = {}
  if drafts:
    options["drafts"] = draft_model.DraftModel(network, 2)
    options["memory"] = draft_model.Memory(variables)
  cache = generation.PrefixCache(2**24, least=2)
  engine = generation.Engine(
    network, variables, SMALL, cache=cache, adapters=adapters, **options
  )
  assert engine.adapters == ("plain", "sized")
  names = None, "plain", "sized"
  # With a network that drafts, draws are others, but for the likeliest.
  kind = {"temperature": 0, "frequency_penalty": 0.5} if drafts else {}
  # Slots, lines and prefixes are those of others before: A, B, A and so on, of
  # the same prompts.
  requests = [
    generation.Request(
      STEM[: 9 - 3 * (i // 3 % 2)],
      5 + i % 3,
      sampling=generation.Sampling(**kind),
      seed=i % 2,
      adapter=names[i * (i // 3 + 1) % 3],
    )
    for i in range(9)
  ]
  results = engine.run(requests)
  merge = jax.jit(lora.merge)
  merged = {name: merge(variables, adapters.get(name, {})) for name in names}
  texts = set()
  for request, (result,) in zip(requests, results):
    want = _alone(network, merged[request.adapter], request)
    np.testing.assert_array_equal(result.tokens, want)
    texts.add((request.adapter, request.seed, tuple(want[:5])))
  assert cache.hits > 0
  # The adapters matter.
  assert len({tokens for _, _, tokens in texts}) >= 3


@pytest.mark.slow
def test_experts_and_embeddings_are_those_of_their_own_network():
  stack = nn.StackConfig(
    "mingru",
    d_model=8,
    num_layers=2,
    feedforward="experts",
    feedforward_options={"experts": 4, "active": 2},
  )
  network = nn.SequenceNetwork(
    nn.NetworkConfig(stack), networks.VOCAB, networks.VOCAB
  )
  variables = jax.jit(network.init)(
    jax.random.key(0), np.zeros((1, 1), np.int32)
  )
  flat = traverse_util.flatten_dict(variables["params"], sep="/")
  layer = "stack/layers_1/feedforward"
  targets = {
    "experts": (f"{layer}/in", f"{layer}/gate", f"{layer}/out"),
    "tokens": ("embed/embedding", f"{layer}/router/kernel"),
  }
  rng = np.random.default_rng(0)

  def factors(path, rank):
    *axes, n, m = flat[path].shape
    shapes = (*axes, n, rank), (*axes, rank, m)
    return lora.Factors(
      *(rng.normal(size=s).astype(np.float32) for s in shapes)
    )

  adapters = {
    name: {path: factors(path, len(paths)) for path in paths}
    for name, paths in targets.items()
  }
  engine = generation.Engine(network, variables, SMALL, adapter_room=2)
  for name, each in adapters.items():
    engine.add_adapter(name, each)
  names = None, *adapters
  requests = [
    generation.Request(STEM[: 3 + i], 8, seed=i, adapter=names[i % 3])
    for i in range(6)
  ]
  results = engine.run(requests)
  for request, (result,) in zip(requests, results):
    merged = lora.merge(variables, adapters.get(request.adapter, {}))
    want = _alone(network, merged, request)
    np.testing.assert_array_equal(result.tokens, want)


@pytest.mark.slow
def test_prefixes_are_those_of_their_adapters():
  network, variables = networks.make("mamba2", "attention")
  adapters = _adapters(network, variables)
  cache = generation.PrefixCache(2**24)
  engine = generation.Engine(
    network, variables, SMALL, cache=cache, adapters=adapters
  )

  def read(name):
    before = engine.read
    engine.run([generation.Request(STEM, 1, adapter=name)])
    return engine.read - before

  assert [read("plain"), read("plain"), read("sized"), read(None)] == [
    9,
    0,
    9,
    9,
  ]
  # Another engine may have the same adapter under another name.
  engine = generation.Engine(
    network,
    variables,
    SMALL,
    cache=cache,
    adapters={"sized": adapters["plain"]},
  )
  assert read("sized") == 0


def test_unknown_adapters_are_refused():
  network, variables = networks.make("mamba2", "attention")
  engine = generation.Engine(network, variables, SMALL)
  with pytest.raises(ValueError, match="adapter: got 'x', expected None: ther"):
    engine.submit(generation.Request(STEM, 1, adapter="x"))
  adapters = _adapters(network, variables)
  engine = generation.Engine(network, variables, SMALL, adapters=adapters)
  with pytest.raises(ValueError, match="None, or one of 'plain', 'sized'"):
    engine.submit(generation.Request(STEM, 1, adapter="x"))
  with pytest.raises(ValueError, match="adapter: got 'int', expected a name"):
    generation.Request(STEM, 1, adapter=3)


def test_weights_of_no_product_are_refused():
  network, variables = networks.make("mamba2", "attention")
  path = "stack/layers_0/mixer/conv_weight"
  taps = variables["params"]["stack"]["layers_0"]["mixer"]["conv_weight"]
  factors = lora.Factors(np.ones((len(taps), 1)), np.ones((1, taps.shape[1])))
  with pytest.raises(ValueError, match=f"{path}: got a LowRankRows"):
    generation.Engine(
      network, variables, SMALL, adapters={"x": {path: factors}}
    )
