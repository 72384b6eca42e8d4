"""What is done against posteriors that collapse, all of it together."""

import functools
import itertools

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxseq import data
from jaxseq.dts import autoencoder
from jaxseq.dts import decoders
from jaxseq.dts import methods
from jaxseq.dts import problem
from jaxseq.dts import series_encoders
from jaxseq.training import recipes
from jaxseq.training import supervised

_LENGTH, _UPDATES, _DONE = 5, 100, 10
_FREE, _LEAST, _CAPACITY, _WEIGHT = 0.25, 1.0, 4.0, 10.0
_OPTIONS = (
  "cyclical",
  "free_bits",
  "capacity",
  "delta_min",
  "word_dropout",
  "aggressive",
  "skip_z",
)
# At a tenth of the training: of the rise in the first quarter, or of the first
# of four cycles, which rises in its first half.
_ANNEAL = {"monotonic": 0.4, "cyclical": 0.8}
# Means of q(z|x), of variance 1, so that the KL of a coordinate is mu^2 / 2:
# some have free bits; all together have less than `delta_min`.
_MEANS = {"wide": (0.0, 1.0, 2.0), "narrow": (0.0, 0.0, 0.5)}


def _arrays():
  """All pairs of options together, apart, and none: an orthogonal array."""
  rows = []
  for a, b, c in itertools.product((False, True), repeat=3):
    row = (a, b, c, a ^ b, a ^ c, b ^ c, a ^ b ^ c)
    rows.append(dict(zip(_OPTIONS, row)))
  return rows


def _everything(cyclical):
  return dict.fromkeys(_OPTIONS, True) | {"cyclical": cyclical}


def _arm(on):
  options = {"anneal": "cyclical" if on["cyclical"] else "monotonic"}
  if on["free_bits"]:
    options["free_bits"] = _FREE
  if on["delta_min"]:
    options["delta_min"] = _LEAST
  if on["capacity"]:
    options |= {"capacity": _CAPACITY, "capacity_weight": _WEIGHT}
  return problem.ArmConfig(
    model=autoencoder.ModelConfig(
      series_encoders.EncoderConfig(kind="mlp", widths=(4,)),
      decoders.DecoderConfig(
        kind="conv",
        widths=(4, 4),
        form="ar",
        skip_z=on["skip_z"],
        word_dropout=0.5 if on["word_dropout"] else 0.0,
      ),
      latent=3,
    ),
    objective=methods.Config(method="vae", **options),
    optimizer=recipes.Recipe(schedule="constant", max_grad_norm=5.0),
    batch_size=8,
    aggressive=on["aggressive"],
  )


def _expected(on, means):
  """The regularizer by hand, from the KL of each coordinate."""
  each = np.square(means) / 2
  kl = np.maximum(each, _FREE if on["free_bits"] else 0).sum()
  kl = max(kl, _LEAST) if on["delta_min"] else kl
  if on["capacity"]:
    kl = _WEIGHT * abs(kl - _CAPACITY * _DONE / _UPDATES)
  return kl * _ANNEAL["cyclical" if on["cyclical"] else "monotonic"]


def _with_means(state, means, frozen):
  """A state whose encoder gives these means to every window."""
  params = jax.tree.map(jnp.asarray, state.variables["params"])
  encoder = params["model"]["encoder"]
  for name, bias in (("mu", means), ("logvar", np.zeros(3))):
    kernel = jnp.zeros_like(encoder[name]["kernel"])
    encoder[name] = {"kernel": kernel, "bias": jnp.float32(bias)}
  carry = state.carry | {"update": jnp.int32(_DONE)}
  if "aggressive" in carry:
    held = carry["aggressive"]._replace(frozen=jnp.array(frozen))
    carry["aggressive"] = held
  return state._replace(variables={"params": params}, carry=carry)


def _moved(before, after):
  return jax.tree.map(
    lambda a, b: bool(np.any(a != b)),
    before.variables["params"]["model"],
    after.variables["params"]["model"],
  )


@pytest.mark.slow
@pytest.mark.parametrize(
  "on",
  [
    pytest.param(_everything(False), id="all-monotonic"),
    pytest.param(_everything(True), id="all-cyclical", marks=pytest.mark.slow),
    *(
      pytest.param(row, id=f"array-{i}", marks=pytest.mark.slow)
      for i, row in enumerate(_arrays())
    ),
  ],
)
def test_every_option_keeps_its_effect(on):
  rng = np.random.default_rng(0)
  x = rng.standard_normal((16, _LENGTH, 1)).astype(np.float32)
  windows = data.ArrayDataset(x, np.zeros(16, np.int32))
  info = data.Info("noise", "the test", "none")
  splits = data.Splits(windows, None, windows, info)
  arm = _arm(on)
  made = problem.Problem(arm, splits, _UPDATES)
  optimizer = problem.make_optimizer(arm, _UPDATES)
  fresh = jax.jit(functools.partial(supervised.init, made, optimizer))(
    jax.random.key(0)
  )
  update = jax.jit(functools.partial(supervised.update, made, optimizer))
  for means in _MEANS.values():
    for frozen in (True, False):
      state = _with_means(fresh, means, frozen)
      after, metrics = update(state, made.data)
      chex.assert_tree_all_finite((after.variables, metrics))
      # float32 sums.
      np.testing.assert_allclose(
        metrics["train_regularizer"], _expected(on, means), rtol=1e-5
      )
      moved = _moved(state, after)
      assert any(jax.tree.leaves(moved["encoder"]))
      held = on["aggressive"] and frozen
      assert any(jax.tree.leaves(moved["decoder"])) != held
      stack = moved["decoder"]["stack"]
      assert ("condition_1" in stack) == on["skip_z"]
      if on["skip_z"]:
        assert stack["condition_1"]["kernel"] != held

  @jax.jit
  def likelihoods(state):
    key = jax.random.key(1)
    # The keys that the loss makes draw the code, and what is dropped.
    key_z, key_dropout, *_ = jax.random.split(key, 4)
    _, extra = made.loss(state.variables, windows, state.carry, key)
    vae = problem.make_model(arm, splits)
    variables = {"params": state.variables["params"]["model"]}
    z = autoencoder.sample(key_z, *vae.apply(variables, x, method="encode"))
    clean, dropped = (
      vae.apply(
        variables,
        x,
        z,
        None,
        train,
        method="nll",
        rngs={"dropout": key_dropout},
      ).mean()
      for train in (False, True)
    )
    return extra.metrics["train_nll"], clean, dropped

  got, clean, dropped = likelihoods(fresh)
  np.testing.assert_allclose(got, dropped, rtol=1e-5)
  assert (abs(got - clean) > 1e-3) == on["word_dropout"]


def test_each_option_has_an_effect_by_hand():
  """What the values above are compared with tells every option's two sides."""
  for row in _arrays() + [_everything(False), _everything(True)]:
    for name in ("cyclical", "free_bits", "capacity", "delta_min"):
      sides = (row | {name: False}, row | {name: True})
      apart = [
        abs(_expected(sides[1], means) - _expected(sides[0], means))
        for means in _MEANS.values()
      ]
      assert max(apart) > 0.01, (name, row)
  # Two options are on together, and off together, and each of them alone.
  for a, b in itertools.combinations(_OPTIONS, 2):
    assert len({(row[a], row[b]) for row in _arrays()}) == 4
