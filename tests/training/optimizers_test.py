"""Groups: which parameter gets which learning rate and decay, by name."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxseq.training import optimizers
from jaxseq.training import recipes


def s5_params(bidirectional=False):
  """Parameters named as in a model of S5 layers."""
  c = ("C1", "C2") if bidirectional else ("C",)
  mixer = {
    name: jnp.full((2,), 0.5)
    for name in ("Lambda_re", "Lambda_im", "B", *c, "D", "log_step")
  }
  return {
    "params": {
      "encoder": {"kernel": jnp.ones((2, 2)), "bias": jnp.ones(2)},
      "layers_0": {
        "mixer": mixer,
        "norm": {"scale": jnp.ones(2), "bias": jnp.ones(2)},
        "out": {"kernel": jnp.ones((2, 2)), "bias": jnp.ones(2)},
      },
    }
  }


def by_leaf(config, params):
  """Returns leaf name -> {(learning rate, decay)} over all such leaves."""
  out = {}
  labels = optimizers.path_labels(params, config.groups, config.no_decay)
  for path, label in jax.tree.leaves_with_path(labels):
    settings = optimizers._settings(config)[label]
    out.setdefault(path[-1].key, set()).add(settings)
  return out


SSM = {(0.001, 0.0)}
SSM_DECAY = {(0.001, 0.04)}
REGULAR = {(0.003, 0.04)}
_NAMES = ("Lambda_re", "Lambda_im", "B", "C1", "C2", "D", "log_step")


@pytest.mark.parametrize(
  ("recipe", "dt_global", "ssm", "ssm_decay"),
  [
    ("standard", False, {"Lambda_re", "Lambda_im", "log_step", "B"}, set()),
    ("standard", True, {"Lambda_re", "Lambda_im", "B"}, set()),
    ("BandCdecay", False, {"Lambda_re", "Lambda_im", "log_step"}, {"B"}),
    ("BfastandCdecay", False, {"Lambda_re", "Lambda_im", "log_step"}, set()),
    ("noBCdecay", False, set(_NAMES), set()),
    ("noBCdecay", True, set(_NAMES) - {"log_step"}, set()),
  ],
)
def test_s5_recipes_by_name(recipe, dt_global, ssm, ssm_decay):
  config = recipes.s5(
    recipe,
    ssm_learning_rate=0.001,
    factor=3,
    weight_decay=0.04,
    dt_global=dt_global,
  )
  found = by_leaf(config, s5_params(bidirectional=True))
  for name in _NAMES:
    expected = REGULAR
    expected = SSM if name in ssm else expected
    expected = SSM_DECAY if name in ssm_decay else expected
    assert found[name] == expected, name
  # The published code trains biases and norms with decay.
  for name in ("kernel", "bias", "scale"):
    assert found[name] == REGULAR


def test_s5_one_direction():
  config = recipes.s5(
    "noBCdecay", ssm_learning_rate=0.001, factor=3, weight_decay=0.04
  )
  assert by_leaf(config, s5_params())["C"] == SSM


@pytest.mark.parametrize("dt_global", [False, True])
@pytest.mark.parametrize("slow_c", [False, True])
def test_s4_by_name(dt_global, slow_c):
  config = recipes.s4(
    learning_rate=0.01,
    ssm_learning_rate=0.001,
    weight_decay=0.05,
    dt_global=dt_global,
    slow_c=slow_c,
  )
  found = by_leaf(config, s5_params())
  for name in ("Lambda_re", "Lambda_im", "B"):
    assert found[name] == {(0.001, 0.0)}
  assert found["log_step"] == {(0.01 if dt_global else 0.001, 0.0)}
  assert found["C"] == {(0.001 if slow_c else 0.01, 0.05)}
  for name in ("D", "kernel"):
    assert found[name] == {(0.01, 0.05)}
  for name in ("bias", "scale"):
    assert found[name] == {(0.01, 0.0)}


def test_slow_ssm():
  config = recipes.slow_ssm(
    ("Lambda_re", "B"), 0.1, learning_rate=1.0, weight_decay=0.5
  )
  found = by_leaf(config, s5_params())
  assert found["Lambda_re"] == found["B"] == {(0.1, 0.0)}
  assert found["C"] == {(1.0, 0.5)}


def test_unknown_recipe():
  with pytest.raises(
    ValueError, match="recipe: got .*, expected one of .*'standard'"
  ):
    recipes.s5("plain", ssm_learning_rate=1e-3, factor=1, weight_decay=0)


def test_labels_follow_precedence():
  groups = (
    optimizers.Group("first", r"mixer/(B|C)$"),
    optimizers.Group("second", optimizers.leaf_names("B", "D", "kernel")),
  )
  labels = optimizers.path_labels(s5_params(), groups)["params"]
  mixer = labels["layers_0"]["mixer"]
  assert (mixer["B"], mixer["C"], mixer["D"]) == ("first", "first", "second")
  assert mixer["Lambda_re"] == "rest"
  assert labels["encoder"] == {"kernel": "second", "bias": "rest_no_decay"}


def test_leaf_names_match_whole_names_only():
  groups = (optimizers.Group("x", optimizers.leaf_names("B")),)
  params = {"B": 0.0, "AB": 0.0, "B2": 0.0, "B_": {"w": 0.0}, "m": {"B": 0.0}}
  labels = optimizers.path_labels(params, groups)
  assert labels == {
    "B": "x",
    "AB": "rest",
    "B2": "rest",
    "B_": {"w": "rest"},
    "m": {"B": "x"},
  }


@pytest.mark.parametrize("name", ["b", "b_out", "bias", "dt_bias", "scale"])
def test_biases_and_norms_have_no_decay(name):
  config = optimizers.Config(weight_decay=0.1)
  assert by_leaf(config, {"cell": {name: 1.0}})[name] == {(1e-3, 0.0)}


def test_group_that_matches_nothing_is_an_error():
  config = optimizers.Config(groups=(optimizers.Group("ssm", "Lambda$"),))
  with pytest.raises(
    ValueError, match="group 'ssm': no parameter matches 'Lambda\\$'; the par"
  ):
    optimizers.make_optimizer(config).init({"w": jnp.ones(1)})


def one_step(config, params, grads, steps=1):
  optimizer = optimizers.make_optimizer(config)
  state = optimizer.init(params)
  update = jax.jit(optimizer.update)
  for _ in range(steps):
    updates, state = update(grads, state, params)
  return updates


def test_updates_have_the_groups_rates_and_decays():
  """After one step Adam moves each parameter by its learning rate."""
  params = s5_params()
  grads = jax.tree.map(jnp.ones_like, params)
  config = recipes.s5(
    "standard", ssm_learning_rate=0.001, factor=3, weight_decay=0.04
  )
  updates = one_step(config, params, grads)
  mixer = updates["params"]["layers_0"]["mixer"]
  # 2e-5: the bias correction 1 - b2 has lost three digits in float32.
  np.testing.assert_allclose(mixer["B"], -0.001, rtol=2e-5)
  np.testing.assert_allclose(mixer["C"], -0.003 * (1 + 0.04 / 2), rtol=2e-5)
  norm = updates["params"]["layers_0"]["norm"]
  np.testing.assert_allclose(norm["scale"], -0.003 * 1.04, rtol=2e-5)


def test_without_groups_it_is_optax_adamw():
  params = {"w": jnp.asarray([1.0, -2.0]), "v": jnp.asarray([[3.0]])}
  grads = {"w": jnp.asarray([0.1, 0.2]), "v": jnp.asarray([[-5.0]])}
  config = optimizers.Config(
    learning_rate=0.01, weight_decay=0.1, b1=0.8, b2=0.95, eps=1e-5
  )
  expected = optax.adamw(0.01, 0.8, 0.95, 1e-5, weight_decay=0.1)
  state = expected.init(params)
  for _ in range(3):
    updates, state = expected.update(grads, state, params)
  actual = one_step(config, params, grads, steps=3)
  # 1e-6: the same operations, compiled together or one by one.
  jax.tree.map(
    lambda a, e: np.testing.assert_allclose(a, e, rtol=1e-6), actual, updates
  )


def test_norm_is_clipped_over_all_groups_together():
  config = optimizers.Config(
    learning_rate=1.0,
    max_grad_norm=1.0,
    # With a huge eps Adam's step is proportional to the gradient.
    eps=1e6,
    groups=(optimizers.Group("a", "^a$"),),
  )
  params = {"a": jnp.zeros(1), "b": jnp.zeros(1)}
  grads = {"a": jnp.asarray([30.0]), "b": jnp.asarray([40.0])}
  updates = one_step(config, params, grads)
  np.testing.assert_allclose(updates["a"], -0.6e-6, rtol=1e-5)
  np.testing.assert_allclose(updates["b"], -0.8e-6, rtol=1e-5)


@pytest.mark.parametrize(
  ("schedule", "expected"),
  [
    ("constant", [0, 0.5, 1, 1, 1, 1]),
    ("linear", [0, 0.5, 1, 0.775, 0.55, 0.1]),
    ("cosine", [0, 0.5, 1, 0.1 + 0.45 * (1 + np.sqrt(0.5)), 0.55, 0.1]),
  ],
)
def test_schedules(schedule, expected):
  config = optimizers.Config(
    schedule=schedule, warmup_steps=4, total_steps=12, final_fraction=0.1
  )
  factor = optimizers.make_schedule(config)
  actual = [float(factor(step)) for step in (0, 2, 4, 6, 8, 20)]
  # 1e-6: float32 schedules.
  np.testing.assert_allclose(actual, expected, rtol=1e-6)


def test_schedule_scales_every_group_and_its_decay():
  config = optimizers.Config(
    learning_rate=0.1,
    schedule="linear",
    total_steps=10,
    weight_decay=0.5,
    groups=(optimizers.Group("a", "^a$", multiplier=0.1, weight_decay=0.0),),
  )
  params = {"a": jnp.ones(1), "w": jnp.ones(1)}
  grads = jax.tree.map(jnp.ones_like, params)
  updates = one_step(config, params, grads, steps=6)
  # The sixth step is step 5, half way down.
  np.testing.assert_allclose(updates["a"], -0.01 * 0.5, rtol=1e-5)
  np.testing.assert_allclose(updates["w"], -0.1 * 0.5 * 1.5, rtol=1e-5)


def test_vmaps_over_seeds():
  config = recipes.s5(
    "standard", ssm_learning_rate=0.001, factor=3, weight_decay=0.04
  )
  optimizer = optimizers.make_optimizer(config)
  params = jax.tree.map(lambda x: jnp.stack([x, 2 * x]), s5_params())
  state = jax.vmap(optimizer.init)(params)
  updates, _ = jax.vmap(optimizer.update)(params, state, params)
  single = jax.tree.map(lambda x: 2 * x, s5_params())
  expected = one_step(config, single, single)
  jax.tree.map(
    lambda a, e: np.testing.assert_allclose(a[1], e, rtol=1e-6),
    updates,
    expected,
  )


@pytest.mark.parametrize(
  ("options", "match"),
  [
    (
      {"schedule": "step"},
      "schedule: got 'step', expected one of 'constant', 'lin",
    ),
    (
      {"schedule": "linear"},
      "total_steps: got None, expected more than warmup_steps=0",
    ),
    (
      {"schedule": "cosine", "total_steps": 5, "warmup_steps": 5},
      "total_steps: got 5, expected more than warmup_steps=5 for a cosine",
    ),
    (
      {"warmup_steps": -1},
      "warmup_steps: got -1, expected a finite number of at least 0",
    ),
    ({"no_decay": "("}, r"pattern: got '\('"),
    (
      {"groups": (optimizers.Group("rest", "a"),)},
      r"groups: got \['rest'\], expected names of their own",
    ),
    (
      {"groups": (optimizers.Group("a", "a"), optimizers.Group("a", "b"))},
      r"got \['a', 'a'\]",
    ),
  ],
)
def test_wrong_options(options, match):
  with pytest.raises(ValueError, match=match):
    optimizers.Config(**options)
