"""Tests of the problem of learning codes: one update, evaluation, options."""

import dataclasses
import functools

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxseq import data
from jaxseq.data import domains
from jaxseq.dts import _aggressive_training
from jaxseq.dts import autoencoder
from jaxseq.dts import backbones
from jaxseq.dts import decoders
from jaxseq.dts import domain_adaptation
from jaxseq.dts import estimators
from jaxseq.dts import evaluation
from jaxseq.dts import methods
from jaxseq.dts import problem
from jaxseq.dts import series_encoders
from jaxseq.training import recipes
from jaxseq.training import supervised
from jaxseq.training.devices import device_mesh
from jaxseq.training.devices import placement

_LENGTH = 8


def _windows(count, seed):
  rng = np.random.default_rng(seed)
  level = rng.integers(0, 4, count)
  x = level[:, None, None] + 0.1 * rng.standard_normal((count, _LENGTH, 1))
  domain = np.arange(count) % 2
  return data.ArrayDataset(
    np.float32(x),
    np.int32(level),
    extras=data.Extras(domain=np.int32(domain)),
  )


def make_splits():
  info = data.Info("levels", "the test", "none", num_classes=4)
  return data.Splits(_windows(64, 0), None, _windows(32, 1), info)


def make_arm(segments=(), **options):
  return problem.ArmConfig(
    model=autoencoder.ModelConfig(
      series_encoders.EncoderConfig(kind="mlp", widths=(16,)),
      decoders.DecoderConfig(kind="mlp", widths=(16,)),
      latent=3,
      segments=segments,
    ),
    optimizer=recipes.Recipe(
      learning_rate=5e-3, schedule="constant", max_grad_norm=5.0
    ),
    batch_size=32,
    **options,
  )


def _train(arm, splits, count, total=None):
  made = problem.Problem(arm, splits, total or count)
  optimizer = problem.make_optimizer(arm, total or count)
  state = jax.jit(functools.partial(supervised.init, made, optimizer))(
    jax.random.key(0)
  )
  step = jax.jit(
    lambda state, data: supervised.train(made, optimizer, state, data, count)
  )
  after, metrics = step(state, made.data)
  return made, state, after, metrics


@pytest.mark.slow
def test_learns_and_uses_the_code():
  made, _, state, _ = _train(make_arm(), make_splits(), 400)
  metrics = jax.jit(made.evaluate)(state.variables, made.data)
  # Four levels are log 4 = 1.39 nats; without a code the decoder's scale is
  # that of the levels, with it that of the noise.
  assert metrics["mi"] > 0.9
  assert metrics["gap"] > 3
  assert metrics["noise_scale"] < 0.6
  np.testing.assert_allclose(
    metrics["neg_elbo"], metrics["nll"] + metrics["kl"], rtol=1e-6
  )
  np.testing.assert_allclose(
    metrics["kl"], sum(metrics["kl_d"].values()), rtol=1e-5
  )


def test_the_loss_knows_the_size_of_the_data_set():
  arm, splits = make_arm(), make_splits()
  made = problem.Problem(arm, splits, 1)
  batch = jax.tree.map(lambda x: x[: arm.batch_size], made.data["train"])
  variables = jax.jit(made.init)(jax.random.key(0))
  key = jax.random.key(1)

  @jax.jit
  def run():
    _, extra = made.loss(variables, batch, made.carry, key)
    vae = problem.make_model(arm, splits)
    encoded = vae.apply(
      {"params": variables["params"]["model"]}, batch.inputs, method="encode"
    )
    # The first of the four keys that the loss makes draws the code.
    z = autoencoder.sample(jax.random.split(key, 4)[0], *encoded)
    terms = [
      estimators.decompose(
        estimators.log_densities(z, *encoded, kind="mss", size=size)
      )
      for size in (len(splits.train.inputs), arm.batch_size)
    ]
    return extra.metrics, terms

  metrics, (right, wrong) = run()
  for name in ("mi", "tc", "dwkl"):
    got = metrics[f"train_{name}"]
    np.testing.assert_allclose(got, getattr(right, name), atol=1e-4)  # float32
  assert np.abs(metrics["train_mi"] - wrong.mi) > 0.01


def test_gap_is_zero_where_the_code_is_not_used():
  splits = make_splits()
  vae = problem.make_model(make_arm(), splits)
  params = jax.jit(vae.init)(jax.random.key(0), splits.test.inputs)["params"]
  kernel = params["decoder"]["hidden_0"]["kernel"]
  params["decoder"]["hidden_0"]["kernel"] = jnp.zeros_like(kernel)
  evaluate = jax.jit(
    lambda params, test: evaluation.evaluate(vae, params, test)
  )
  metrics = evaluate({"params": params}, splits.test)
  np.testing.assert_allclose(metrics["gap"], 0, atol=1e-5)  # float32 sums
  assert metrics["mi"] > 0


@pytest.mark.slow
@pytest.mark.parametrize(
  "backbone",
  [
    {"kind": "conv", "widths": (4, 4)},
    pytest.param(
      {
        "stack": dataclasses.replace(
          backbones.Backbone().stack, mixer="gru", d_model=4
        )
      },
      marks=pytest.mark.slow,
    ),
  ],
  ids=["conv", "gru"],
)
def test_windows_of_different_lengths(backbone):
  splits = make_splits()
  parts = [
    part._replace(lengths=np.int32(1 + np.arange(len(part.inputs)) % _LENGTH))
    for part in (splits.train, splits.test)
  ]
  splits = splits._replace(train=parts[0], test=parts[1])
  arm = make_arm()
  arm = dataclasses.replace(
    arm,
    model=dataclasses.replace(
      arm.model,
      encoder=series_encoders.EncoderConfig(**backbone),
      decoder=decoders.DecoderConfig(form="ar", **backbone),
    ),
  )
  made, before, after, metrics = _train(arm, splits, 3)
  evaluate = jax.jit(made.evaluate)
  evaluated = evaluate(after.variables, made.data)
  chex.assert_tree_all_finite((after.variables, metrics, evaluated))
  old, new = (s.variables["params"]["model"] for s in (before, after))
  for part in ("mu", "logvar"):
    assert np.any(
      old["encoder"][part]["kernel"] != new["encoder"][part]["kernel"]
    )
  # What lies behind the end of a window counts nowhere.
  inputs = parts[1].inputs.copy()
  inputs[np.arange(_LENGTH) >= parts[1].lengths[:, None]] = 9
  padded = made.data | {"test": parts[1]._replace(inputs=inputs)}
  # float32, the same sums.
  chex.assert_trees_all_close(
    evaluated, evaluate(after.variables, padded), rtol=1e-5, atol=1e-6
  )


@pytest.mark.slow
def test_discriminator_is_trained_alone():
  arm = make_arm(objective=methods.Config(method="factor_vae"))
  _, before, after, metrics = _train(arm, make_splits(), 2)
  old, new = (s.variables["params"] for s in (before, after))
  chex.assert_trees_all_equal_structs(old, new)
  moved = jax.tree.map(lambda a, b: bool(np.any(a != b)), old, new)
  assert moved["discriminator"]["logits"]["kernel"]
  assert moved["model"]["encoder"]["mu"]["kernel"]
  # Adam's first steps are as large as its learning rate, 1e-4.
  steps = jax.tree.map(
    lambda a, b: np.abs(a - b).max(), old["discriminator"], new["discriminator"]
  )
  assert max(jax.tree.leaves(steps)) < 2.5e-4
  assert np.isfinite(metrics["train_tc_ratio"])


def test_windows_that_say_whether_the_encoder_is_ahead_are_of_all(monkeypatch):
  """A part may be sorted."""
  monkeypatch.setattr(problem, "_WATCHED", 8)
  splits = make_splits()
  rows = np.argsort(splits.train.targets, kind="stable")
  splits = splits._replace(train=data.take(splits.train, rows))
  made = problem.Problem(make_arm(aggressive=True), splits, 100)
  assert len(made._watched.inputs) == 8
  assert set(made._watched.targets.tolist()) == {0, 1, 2, 3}


@pytest.mark.slow
def test_aggressive_updates_move_the_encoder_alone():
  arm = make_arm(aggressive=True)
  _, before, after, _ = _train(arm, make_splits(), 3, total=100)
  old, new = (s.variables["params"]["model"] for s in (before, after))
  chex.assert_trees_all_equal(old["decoder"], new["decoder"])
  assert np.any(
    old["encoder"]["mu"]["kernel"] != new["encoder"]["mu"]["kernel"]
  )


@pytest.mark.slow
def test_the_discriminator_is_still_while_the_encoder_is_updated():
  arm = make_arm(objective=methods.Config(method="factor_vae"), aggressive=True)
  made = problem.Problem(arm, make_splits(), 100)
  optimizer = problem.make_optimizer(arm, 100)
  state = jax.jit(functools.partial(supervised.init, made, optimizer))(
    jax.random.key(0)
  )
  update = jax.jit(functools.partial(supervised.update, made, optimizer))
  # A common update, which gives momentum, and the beginning of a round.
  together = state.carry["aggressive"]._replace(frozen=jnp.array(False))
  state = state._replace(carry=state.carry | {"aggressive": together})
  moved = []
  for _ in range(4):
    frozen = bool(state.carry["aggressive"].frozen)
    old = state.variables["params"]["discriminator"]
    state, _ = update(state, made.data)
    new = state.variables["params"]["discriminator"]
    changed = jax.tree.map(lambda a, b: bool(np.any(a != b)), old, new)
    moved.append((frozen, any(jax.tree.leaves(changed))))
  assert moved == [(False, True)] + [(True, False)] * 3


def test_aggressive_rounds():
  state = _aggressive_training.initial()
  splits = make_splits()
  vae = problem.make_model(make_arm(), splits)
  variables = jax.jit(vae.init)(jax.random.key(0), splits.test.inputs)
  advance = jax.jit(
    lambda state: _aggressive_training.advance(
      state, vae, variables, splits.test
    )
  )
  frozen = []
  for _ in range(200):
    frozen.append(bool(state.frozen))
    state = advance(state)
  # The parameters stay as they are, and so does the information: each round
  # ends at its second look, 20 updates on; the first one counts as a rise.
  expected = ([True] * 20 + [False]) * (1 + _aggressive_training.PATIENCE)
  assert frozen == expected + [False] * (200 - len(expected))


@pytest.mark.parametrize("held_out", [True, False])
def test_aggressive_watches_validation_windows(held_out):
  splits = make_splits()
  if held_out:
    splits = splits._replace(valid=_windows(16, 2))
  made = problem.Problem(make_arm(aggressive=True), splits, 100)
  variables = jax.jit(made.init)(jax.random.key(0))
  batch = jax.tree.map(lambda x: x[:32], made.data["train"])
  # The next update is followed by a look.
  before = _aggressive_training.initial()._replace(
    inner=jnp.int32(_aggressive_training.CHECK_EVERY - 1)
  )
  model_variables = {"params": variables["params"]["model"]}
  vae = problem.make_model(make_arm(), splits)
  watched = splits.valid if held_out else splits.train

  @jax.jit
  def look():
    carry = made.carry | {"aggressive": before}
    _, extra = made.loss(variables, batch, carry, jax.random.key(1))
    after = _aggressive_training.advance(before, vae, model_variables, watched)
    return extra.carry["aggressive"].last, after.last

  got, expected = look()
  np.testing.assert_allclose(got, expected, rtol=1e-5)  # float32


def test_frozen_parameters_keep_their_momentum():
  optimizer = _aggressive_training.hold_frozen(optax.adam(0.1), optax.adam(0.1))
  params = {"encoder": jnp.ones(2), "decoder": jnp.ones(2)}
  state = optimizer.init(params)
  ones = jax.tree.map(jnp.ones_like, params)
  _, state = optimizer.update(ones, state, params)
  updates, state = optimizer.update(
    ones | {"decoder": jnp.zeros(2)}, state, params
  )
  np.testing.assert_array_equal(updates["decoder"], 0)
  assert np.all(updates["encoder"] != 0)
  again, _ = optimizer.update(ones, state, params)
  # Constant gradients give steps of the learning rate; float32.
  np.testing.assert_allclose(again["decoder"], -0.1, rtol=1e-4)


def _read_by(mixer):
  """An arm whose encoder is so wide that devices keep parts of it."""
  arm = make_arm()
  stack = dataclasses.replace(
    arm.model.encoder.stack, mixer=mixer, d_model=32, num_layers=1
  )
  encoder = series_encoders.EncoderConfig(kind="mixer", stack=stack)
  return dataclasses.replace(
    arm, model=dataclasses.replace(arm.model, encoder=encoder)
  )


_SHARED = device_mesh.MeshConfig(data=8, split_data=True)
_PARTS = device_mesh.MeshConfig(data=2, parameters=2, time=2)


@pytest.mark.slow
@pytest.mark.devices
@pytest.mark.parametrize(
  ("arm", "mesh"),
  [
    (
      make_arm(objective=methods.Config(method="dts", beta=4.0, alpha=3.5)),
      _SHARED,
    ),
    pytest.param(
      make_arm(objective=methods.Config(method="factor_vae")),
      _SHARED,
      marks=pytest.mark.slow,
    ),
    pytest.param(_read_by("lstm"), _PARTS, marks=pytest.mark.slow),
    pytest.param(_read_by("s5"), _PARTS, marks=pytest.mark.slow),
  ],
  ids=["dts", "factor_vae", "lstm", "s5"],
)
def test_a_mesh_changes_no_number(arm, mesh):
  def train(config):
    cut = device_mesh.split_time(config, arm)
    made = problem.Problem(cut, make_splits(), 4)
    optimizer = problem.make_optimizer(cut, 4)
    keys = placement.keys(config, 0, 1)
    init = functools.partial(supervised.init, made, optimizer)
    shapes = jax.eval_shape(jax.vmap(init), keys)
    where = placement.state_placements(config, shapes, "carry")
    make = placement.compiled(config, 1, init, out_shardings=where)
    chunk = placement.compiled(
      config,
      1,
      lambda state, data: supervised.train(made, optimizer, state, data, 4),
      shared=1,
      out_shardings=(where, placement.everywhere(config)),
    )
    data = placement.share(config, 1, made.data)
    return chunk(make(keys), data)

  state, metrics = train(device_mesh.MeshConfig())
  shared, shared_metrics = train(mesh)
  # float32, sums in another order, four updates.
  chex.assert_trees_all_close(
    jax.device_get(shared_metrics),
    jax.device_get(metrics),
    rtol=1e-4,
    atol=1e-5,
  )
  chex.assert_trees_all_close(
    jax.device_get(shared.variables),
    jax.device_get(state.variables),
    rtol=1e-3,
    atol=1e-5,
  )
  leaf = jax.tree.leaves(shared.variables)[0]
  assert len(leaf.sharding.device_set) == 8


@pytest.mark.slow
def test_two_domains():
  splits = make_splits()
  target = splits.train.extras.domain == 1
  hidden = np.where(target, domains.UNLABELED, splits.train.targets)
  splits = splits._replace(
    train=splits.train._replace(targets=np.int32(hidden)), valid=splits.test
  )
  config = domain_adaptation.Config(class_size=2, domain_size=1, widths=(8,))
  made, _, state, metrics = _train(
    make_arm((2, 1), adaptation=config), splits, 5
  )
  assert {"train_yy", "train_yd", "train_dd", "train_dy"} <= set(metrics)
  assert "train_tc_group" in metrics
  accuracy = made.evaluate(state.variables, made.data)["test_accuracy"]
  assert 0 <= accuracy <= 1


def test_wrong_options():
  splits = make_splits()
  with pytest.raises(ValueError, match=r"segments: got \(\), expected \(12, 4"):
    make_arm(adaptation=domain_adaptation.Config())
  arm = dataclasses.replace(make_arm(), batch_size=65)
  with pytest.raises(ValueError, match="expected at most 64"):
    problem.Problem(arm, splits, 10)
  arm = make_arm((2, 1), adaptation=domain_adaptation.Config(2, 1))
  with pytest.raises(ValueError, match="validation windows of the source"):
    problem.Problem(arm, splits, 10)
  with pytest.raises(
    ValueError, match="splits.train: got .no windows of the target"
  ):
    problem.Problem(arm, splits._replace(valid=splits.test), 10)
  plain = splits._replace(train=splits.train._replace(extras=data.Extras()))
  with pytest.raises(ValueError, match="extras.domain: got None"):
    problem.Problem(arm, plain, 10)


def test_traced_weights_are_those_of_separate_arms():
  splits = make_splits()
  arms = [
    make_arm(objective=methods.Config(anneal="none", **options))
    for options in (
      {"method": "vae"},
      {"method": "dts", "beta": 4.0, "alpha": 3.5, "w_dw": 1.0},
    )
  ]
  assert problem.stack_of(arms[0]) == problem.stack_of(arms[1])
  plain, traced = (
    [problem.Problem(arm, splits, 3, traced_weights=t) for arm in arms]
    for t in (False, True)
  )
  batch = jax.tree.map(lambda x: x[:32], plain[0].data["train"])
  variables = jax.jit(plain[0].init)(jax.random.key(0))
  carries = jax.tree.map(
    lambda *leaves: jnp.stack(leaves), *(made.carry for made in traced)
  )

  def grads(loss, carry):
    key = jax.random.key(1)
    return jax.grad(lambda v: loss(v, batch, carry, key)[0])(variables)

  @jax.jit
  def both():
    alone = [grads(made.loss, made.carry) for made in plain]
    together = jax.vmap(lambda carry: grads(traced[0].loss, carry))(carries)
    return jax.tree.map(lambda *leaves: jnp.stack(leaves), *alone), together

  expected, got = both()
  # float32, summed in another order; gradients are of size 1 to 30.
  chex.assert_trees_all_close(got, expected, rtol=1e-4, atol=1e-4)
  apart = jax.tree.map(lambda x: jnp.abs(x[0] - x[1]).max(), got)
  assert max(jax.tree.leaves(apart)) > 0.1


@pytest.mark.parametrize(
  "options",
  [
    {"method": "factor_vae"},
    {"method": "dip_vae_i"},
    {"method": "annealed_vae", "capacity": 3.0},
    {"method": "info_vae", "kl_marg": "mmd"},
    {"mi_cap": 2.0},
    {"w_gtc": 2.0},
  ],
)
def test_what_is_more_than_weights_is_not_stacked(options):
  assert problem.stack_of(make_arm(objective=methods.Config(**options))) is None


def test_the_encoder_sees_first_halves_in_training():
  arm = dataclasses.replace(make_arm(), prefix_rate=1.0)
  splits = make_splits()
  made = problem.Problem(arm, splits, 1)
  variables = jax.jit(made.init)(jax.random.key(0))
  batch = jax.tree.map(lambda x: x[:32], made.data["train"])
  changed = batch._replace(inputs=batch.inputs.copy())
  changed.inputs[:, _LENGTH // 2 :] += 1

  @jax.jit
  def kl(batch):
    _, extra = made.loss(variables, batch, made.carry, jax.random.key(1))
    return extra.metrics["train_kl"]

  assert kl(changed) == kl(batch)
  with pytest.raises(ValueError, match="prefix_rate: got 1.5"):
    dataclasses.replace(arm, prefix_rate=1.5)
