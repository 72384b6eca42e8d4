"""A row alone gives what it gives in company: padding is never seen."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxseq import mixers
from jaxseq import nn

# Both sides do the same in float64, at other lengths: sums in another order.
_CLOSE = {"rtol": 1e-12, "atol": 1e-12}
_LENGTHS = np.array([5, 9, 2, 9])
_SEVERAL_ORDERS = {
  "images": ("lightnet", {"lrpe": "none"}, lambda time: {"shape": (time,)}),
  "cosines": ("lightnet", {}, lambda time: {"shape": (time,)}),
  "prefix": ("jrt", {}, lambda time: {"prefix": jnp.full(4, 4)}),
  "kernels": ("s4", {"bidirectional": True}, lambda time: {}),
  "s5": ("s5", {"bidirectional": True, "blocks": 1}, lambda time: {}),
  "gaps": (
    "s5",
    {"bidirectional": True, "blocks": 1, "ssm_size": 8},
    lambda time: {"gaps": jnp.tile(0.5 + jnp.arange(time) % 3, (4, 1))},
  ),
  "chunks": ("s4d", {"bidirectional": True, "method": "chunks"}, lambda _: {}),
}


def _rows():
  """Features of rows, (4, 9, 6); what lies behind their ends is large."""
  rng = np.random.default_rng(0)
  x = rng.normal(size=(4, 9, 6))
  ends = np.arange(9) >= _LENGTHS[:, None]
  return np.where(ends[..., None], 10 * x, x)


def _variables(model, *inputs):
  variables = jax.jit(model.init)(jax.random.key(0), *inputs)
  return jax.tree.map(
    lambda leaf: (
      jnp.asarray(leaf, jnp.float64)
      if jnp.issubdtype(leaf.dtype, jnp.floating)
      else leaf
    ),
    variables,
  )


def _compare(run, x, row=0):
  """Compares outputs (rows, time, ...) at the valid elements of one row."""
  size = _LENGTHS[row]
  together = run(jnp.asarray(x), jnp.asarray(_LENGTHS))[row]
  alone = run(jnp.asarray(x[:, :size]), None)[row]
  assert jnp.all(jnp.isfinite(alone))
  np.testing.assert_allclose(together[:size], alone, **_CLOSE)


def _heads(name):
  fields = mixers.get(name).Config.__dataclass_fields__
  return {"heads": 2} if "heads" in fields else {}


# One of each kind; the wrapper around the others is the same.
_QUICK = {"gru", "mamba2"}


@pytest.mark.parametrize(
  "name",
  [
    pytest.param(name, marks=() if name in _QUICK else pytest.mark.slow)
    for name in mixers.names()
  ],
)
def test_both_directions_of_every_mixer(name):
  with jax.enable_x64(True):
    config = nn.StackConfig(
      name, _heads(name), d_model=6, num_layers=1, bidirectional=True
    )
    model, x = nn.SequenceModel(config), _rows()
    variables = _variables(model, x)

    @jax.jit
    def run(x, lengths):
      return model.apply(variables, x, lengths=lengths)[0]

    _compare(run, x)


@pytest.mark.slow
@pytest.mark.parametrize("case", _SEVERAL_ORDERS)
def test_mixers_that_read_ahead(case):
  name, options, of_call = _SEVERAL_ORDERS[case]
  with jax.enable_x64(True):
    config = nn.StackConfig(name, options, d_model=6, num_layers=2)
    model, x = nn.SequenceModel(config), _rows()
    variables = _variables(model, x)

    @jax.jit
    def run(x, lengths):
      options = of_call(x.shape[1])
      return model.apply(variables, x, options=options, lengths=lengths)[0]

    _compare(run, x)


@pytest.mark.parametrize(
  "bidirectional", [False, pytest.param(True, marks=pytest.mark.slow)]
)
@pytest.mark.parametrize(
  "options",
  [
    pytest.param({"remat": True, "norm": "batch"}, marks=pytest.mark.slow),
    {"scan_layers": True, "feedforward": "experts", "norm": "rms"},
    pytest.param(
      {"hybrid": {"s4": {}}, "feedforward": "relu"}, marks=pytest.mark.slow
    ),
  ],
  ids=["remat", "scan", "hybrid"],
)
def test_networks_and_poolings(options, bidirectional):
  with jax.enable_x64(True):
    stack = nn.StackConfig(
      "gru", d_model=6, bidirectional=bidirectional, **options
    )
    networks = [
      nn.SequenceNetwork(nn.NetworkConfig(stack, pooling=pooling), 3)
      for pooling in ("none", "mean", "last")
    ]
    x = _rows()
    variables = _variables(networks[0], x)

    @functools.partial(jax.jit, static_argnames="train")
    def run(x, lengths, train=False):
      outputs = []
      for network in networks:
        mutable = ["batch_stats"] if train else []
        (y, _), _ = network.apply(
          variables, x, lengths=lengths, train=train, mutable=mutable
        )
        outputs.append(y if y.ndim == 3 else y[:, None])
      return jnp.concatenate(outputs[::-1], axis=1)

    together, alone = run(x, _LENGTHS), run(x[:, : _LENGTHS[0]], None)
    # In front of the elements' own outputs, those of two poolings.
    size = _LENGTHS[0] + 2
    np.testing.assert_allclose(together[0, :size], alone[0], **_CLOSE)
    # The statistics of a batch, too, are those of its valid elements.
    more = np.pad(x, [(0, 0), (0, 3), (0, 0)], constant_values=9.0)
    short, long = (run(x, _LENGTHS, train=True) for x in (x, more))
    np.testing.assert_allclose(long[0, :size], short[0, :size], **_CLOSE)


@pytest.mark.slow
def test_tokens_in_pairs():
  with jax.enable_x64(True):
    stack = nn.StackConfig("gru", d_model=6, bidirectional=True)
    config = nn.NetworkConfig(stack, pooling="mean")
    network = nn.SequenceNetwork(config, 3, vocab_size=5, pairs=True)
    tokens = np.random.default_rng(0).integers(0, 5, (2, 2, 9))
    lengths = np.array([[4, 6], [9, 1]])
    # Activations are float32 at most where what comes in are tokens.
    variables = jax.jit(network.init)(jax.random.key(0), tokens)
    run = jax.jit(lambda *args: network.apply(variables, *args)[0])
    together = run(tokens, None, None, lengths)
    alone = run(tokens[:1, :, :6], None, None, lengths[:1])
    np.testing.assert_allclose(together[:1], alone, rtol=1e-5, atol=1e-6)


@pytest.mark.slow
def test_experts_are_balanced_over_what_is_valid():
  stack = nn.StackConfig(
    "gru",
    d_model=6,
    feedforward="experts",
    feedforward_options={"balance_weight": 1.0},
  )
  model, x = nn.SequenceModel(stack), jnp.asarray(_rows(), jnp.float32)
  variables = {"params": jax.jit(model.init)(jax.random.key(0), x)["params"]}

  @jax.jit
  def loss(x, lengths):
    _, changed = model.apply(variables, x, lengths=lengths, mutable=["losses"])
    return sum(jax.tree.leaves(changed))

  more = jnp.pad(x, [(0, 0), (0, 3), (0, 0)], constant_values=9.0)
  np.testing.assert_allclose(loss(more, _LENGTHS), loss(x, _LENGTHS), rtol=1e-6)


@pytest.mark.parametrize("pooling", ["mean", "last"])
def test_no_element_is_pooled_to_zeros(pooling):
  x = jnp.full((2, 3, 4), jnp.nan).at[1, 0].set(2.0)
  pooled = nn.heads.pool(pooling, x, jnp.array([0, 1]))
  np.testing.assert_array_equal(pooled[0], 0)
  np.testing.assert_array_equal(pooled[1], 2)


@pytest.mark.parametrize(
  ("mixer", "options"),
  [
    ("routing", {"heads": 2}),
    pytest.param("mom", {"heads": 2}, marks=pytest.mark.slow),
    ("mom", {"heads": 2, "balance": "pooled"}),
  ],
)
def test_a_mixers_own_loss_does_not_see_padding(mixer, options):
  with jax.enable_x64(True):
    config = nn.StackConfig(mixer, options, d_model=6, num_layers=1)
    model, x = nn.SequenceModel(config), _rows()
    variables = _variables(model, x)

    @jax.jit
    def loss(x, lengths):
      _, state = model.apply(variables, x, lengths=lengths, mutable=["losses"])
      return sum(jax.tree.leaves(state["losses"]))

    wider = np.pad(x, ((0, 0), (0, 3), (0, 0)), constant_values=7)
    value = loss(x, _LENGTHS)
    np.testing.assert_allclose(loss(wider, _LENGTHS), value, **_CLOSE)
    # Of all rows at their full length it is what it is without lengths.
    np.testing.assert_allclose(loss(x, np.full(4, 9)), loss(x, None), **_CLOSE)


@pytest.mark.parametrize("pooling", ["none", "mean", "last"])
@pytest.mark.parametrize(
  ("mixer", "options"),
  [("gru", {"bidirectional": True}), ("attention", {}), ("jrt", {})],
)
def test_lengths_may_be_a_list(mixer, options, pooling):
  own = {"heads": 2, "bidirectional": True} if mixer == "attention" else {}
  if mixer == "jrt":
    own = {"heads": 2}
  stack = nn.StackConfig(mixer, own, d_model=6, num_layers=1, **options)
  network = nn.SequenceNetwork(nn.NetworkConfig(stack, pooling=pooling), 3)
  x = jnp.asarray(_rows())
  variables = jax.jit(network.init)(jax.random.key(0), x)
  apply = jax.jit(network.apply)
  y, _ = apply(variables, x, lengths=_LENGTHS.tolist())
  expected, _ = apply(variables, x, lengths=jnp.asarray(_LENGTHS))
  np.testing.assert_array_equal(y, expected)
  eager, _ = network.apply(variables, x, lengths=_LENGTHS.tolist())
  np.testing.assert_allclose(eager, expected, rtol=1e-5, atol=1e-6)
