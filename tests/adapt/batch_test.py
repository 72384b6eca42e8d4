"""Several adapters in one batch: every row is as if it were alone."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxseq import mixers
from jaxseq import nn
from jaxseq import recurrence
from jaxseq.adapt import batch
from jaxseq.adapt import lora
from jaxseq.adapt import products

# Sums of a few dozen numbers of size 1, in another order, through two layers.
_FLOAT32 = {"rtol": 0, "atol": 3e-5}
# Mixers whose weights are all used in other ways than by products.
_WITHOUT_PRODUCTS = "elman", "gru", "lru", "lstm", "s4", "s4d", "s5", "slstm"

# Each takes a second or more to trace; the rest is slow.
_QUICK = ("latent_attention",)
CASES = [
  pytest.param(name, marks=() if name in _QUICK else pytest.mark.slow)
  for name in mixers.names()
]


def _network(*names, **options):
  options = {"d_model": 8, "num_layers": len(names)} | options
  hybrid = {name: {} for name in names[1:]}
  stack = nn.StackConfig(names[0], hybrid=hybrid, **options)
  network = nn.SequenceNetwork(nn.NetworkConfig(stack), 9, 9)
  tokens = jnp.zeros((1, 1), jnp.int32)
  return network, jax.jit(network.init)(jax.random.key(0), tokens)


def _adapters(network, variables, seed, **options):
  """Adapters of which none is zero."""
  config = lora.Config(**options)
  adapters = lora.init(jax.random.key(seed), network, variables, config)
  return jax.tree.map(lambda leaf: leaf + 0.1 * seed, adapters)


@pytest.mark.slow
@pytest.mark.parametrize(
  "scan_layers", [pytest.param(False, marks=pytest.mark.slow), True]
)
def test_rows_are_as_alone(scan_layers):
  network, variables = _network("gla", num_layers=2, scan_layers=scan_layers)
  first, *rest = ("W_qkv", "W_g", "W_o")
  adapters = [
    _adapters(network, variables, 1, targets=(first,), rank=2),
    _adapters(network, variables, 2, targets=(first, *rest), rank=3, dora=True),
  ]
  rows = [2, 0, 1, 2]
  tokens = jax.random.randint(jax.random.key(1), (4, 6), 0, 9)
  attached = batch.at_rows(batch.attach(variables, adapters), rows)
  apply = jax.jit(network.apply)
  logits, states = apply(attached, tokens)
  stepped, _ = network.apply(attached, tokens[:, 0], states, method="step")
  choices = [variables, *(lora.merge(variables, each) for each in adapters)]
  for i, row in enumerate(rows):
    want, states = apply(choices[row], tokens[i : i + 1])
    np.testing.assert_allclose(logits[i], want[0], **_FLOAT32)
    want, _ = network.apply(
      choices[row], tokens[i : i + 1, 0], states, method="step"
    )
    np.testing.assert_allclose(stepped[i], want[0], **_FLOAT32)


def _factors(weight, rank, seed):
  """Factors of a weight (*axes, n, m) by hand."""
  *axes, n, m = weight.shape
  keys = jax.random.split(jax.random.key(seed))
  a = jax.random.normal(keys[0], (*axes, n, rank)) / n**0.5
  return lora.Factors(
    a, jax.random.normal(keys[1], (*axes, rank, m)), scale=0.5
  )


@pytest.mark.parametrize("form", ["blocked", "ragged"])
def test_experts_and_embeddings_of_rows_are_as_alone(form, monkeypatch):
  """Experts of few elements, of many on a CPU, and of many elsewhere."""
  network, variables = _network(
    "mingru",
    feedforward="experts",
    feedforward_options={"experts": 4, "active": 2},
  )
  params = variables["params"]
  stack = "stack/layers_0/feedforward"
  weights = {
    f"{stack}/{name}": params["stack"]["layers_0"]["feedforward"][name]
    for name in ("in", "gate", "out")
  }
  weights["embed/embedding"] = params["embed"]["embedding"]
  one, two = (
    {path: _factors(w, seed, seed) for path, w in weights.items()}
    for seed in (1, 2)
  )
  # One of them leaves some weights as they are.
  del two[f"{stack}/gate"]
  rows, choices = [2, 0, 1], [variables]
  choices += [lora.merge(variables, each) for each in (one, two)]
  attached = batch.at_rows(batch.attach(variables, [one, two]), rows)
  tokens = jax.random.randint(jax.random.key(1), (3, 7), 0, 9)
  # A step of a row has two experts, so that only these are read.
  single = batch.at_rows(batch.attach(variables, [one, two]), [2])
  stepped, _ = network.apply(
    single, tokens[:1, 0], network.initial_state((1,)), method="step"
  )
  monkeypatch.setattr(
    jax.lax,
    "platform_dependent",
    lambda *args, cpu, default: (cpu if form == "blocked" else default)(*args),
  )
  # Traced here, with the form of this case.
  apply = jax.jit(lambda *arrays: network.apply(*arrays))
  logits, _ = apply(attached, tokens)
  for i, row in enumerate(rows):
    want, _ = apply(choices[row], tokens[i : i + 1])
    plain, _ = apply(variables, tokens[i : i + 1])
    assert row == 0 or jnp.max(jnp.abs(want - plain)) > 0.1
    np.testing.assert_allclose(logits[i], want[0], **_FLOAT32)
  np.testing.assert_allclose(stepped[0], logits[0, 0], **_FLOAT32)


@pytest.mark.parametrize("name", CASES)
def test_every_mixer_has_the_axis_of_rows_in_front(name):
  network, variables = _network(name)
  paths = [p for p in products.weights(network, variables) if "mixer" in p]
  targets = tuple({path.rsplit("/", 1)[-1] for path in paths})
  if not targets:
    assert name in _WITHOUT_PRODUCTS
    return
  one = _adapters(network, variables, 1, targets=targets, rank=1)
  attached = batch.at_rows(batch.attach(variables, [one]), [0, 1, 1])
  # A product whose first axis is another is an error, which needs no numbers.
  states = jax.eval_shape(network.apply, attached, jnp.zeros((3, 5), int))[1]
  step = jax.eval_shape(
    lambda *args: network.apply(*args, method="step"),
    *(attached, jnp.zeros(3, int), states),
  )
  assert step[0].shape == (3, 9)


@pytest.mark.parametrize(
  "use", [lambda w: w.take(jnp.zeros(2, int)), lambda w: w.of_elements(4)]
)
def test_magnitudes_of_experts_and_embeddings_are_refused(use):
  weight = recurrence.LowRankRows(
    *map(jnp.ones, ((3, 4), (2, 3, 1), (2, 1, 4), (2, 4))), path="embedding"
  )
  with pytest.raises(ValueError, match="embedding: got magnitudes .DoRA. of"):
    use(weight.at([0, 1]))


@pytest.mark.parametrize("rows", [[0, 2], [-1, 1], [0.0, 1.0]])
def test_rows_of_no_adapter_are_refused(rows):
  weight = recurrence.LowRankRows(
    jnp.ones((3, 4)), jnp.ones((2, 3, 1)), jnp.ones((2, 1, 4))
  )
  with pytest.raises(ValueError, match="rows: got .*, expected integers"):
    batch.at_rows({"w": weight}, rows)


def test_digests_differ_by_numbers_and_scales():
  network, variables = _network("mamba2")
  target = ("out_proj",)
  one, other, wide = (
    _adapters(network, variables, seed, targets=target, rank=1, alpha=alpha)
    for seed, alpha in ((1, 1.0), (2, 1.0), (1, 2.0))
  )
  digests = {batch.digest(each) for each in (one, other, wide)}
  assert len(digests) == 3
  assert batch.digest(dict(one)) in digests
