"""Losses of groups of answers against those of the library TRL."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments.group_policy import group_policy

pytestmark = pytest.mark.usefixtures("x64")
SETTING = re.compile(r"(\w+)_(token|sequence)_beta([\d.]+)_high([\d.]+)")


def test_losses_and_gradients(golden):
  arrays = golden("adapt/preferences/grpo")
  names = [name[5:] for name in arrays if name.startswith("loss/")]
  assert len(names) == 21
  # Nothing that is masked may count, whatever it is.
  old, reference = (
    jnp.where(arrays["mask"], arrays[name], jnp.nan)
    for name in ("old_log_probs", "ref_log_probs")
  )

  def objective(log_probs, name):
    kind, level, beta, high = SETTING.fullmatch(name).groups()
    return group_policy.loss(
      log_probs,
      old,
      jnp.asarray(arrays["advantages_group"]),
      jnp.asarray(arrays["mask"]),
      group_policy.Config(kind, level, beta=float(beta), clip_high=float(high)),
      ref_log_probs=reference,
    )

  @jax.jit
  def all_of_them(log_probs):
    graded = jax.value_and_grad(objective, has_aux=True)
    return {name: graded(log_probs, name) for name in names}

  results = all_of_them(jnp.asarray(arrays["log_probs"]))
  for name, ((value, metrics), gradient) in results.items():
    np.testing.assert_allclose(
      value, arrays[f"loss/{name}"], rtol=1e-9, err_msg=name
    )
    np.testing.assert_allclose(
      gradient, arrays[f"grad/{name}"], rtol=1e-9, atol=1e-12, err_msg=name
    )
    assert all(np.isfinite(x) for x in metrics.values())


@pytest.mark.parametrize("scale", ["group", "batch", "none"])
def test_advantages(golden, scale):
  arrays = golden("adapt/preferences/grpo")
  values = group_policy.advantages(
    jnp.asarray(arrays["rewards"]), int(arrays["group"]), scale
  )
  np.testing.assert_allclose(values, arrays[f"advantages_{scale}"], atol=1e-6)


def test_equal_rewards_teach_nothing():
  # The mean of three such numbers in float32 is another number.
  rewards = jnp.array([0.1, 0.1, 0.1, 0.0, 1.0, 0.0], jnp.float32)
  values = group_policy.advantages(rewards, 3)
  assert (values[:3] == 0).all()
  assert (values[3:] != 0).all()
  assert int(group_policy.flat_groups(rewards, 3)) == 1


@pytest.mark.parametrize("kind", ["dapo", "cispo"])
def test_the_parts_of_a_batch_add_up(golden, kind):
  arrays = golden("adapt/preferences/grpo")
  names = "log_probs", "old_log_probs", "advantages_group", "mask"
  whole = [jnp.asarray(arrays[name]) for name in names]
  config = group_policy.Config(kind)
  # Parts of different numbers of tokens, of which a mean of means is wrong.
  parts = [slice(0, 3), slice(3, None)]
  loss = jax.jit(group_policy.loss, static_argnums=4)
  values = [
    loss(*(x[part] for x in whole), config, num_tokens=whole[-1].sum())[0]
    for part in parts
  ]
  expected, _ = loss(*whole, config)
  np.testing.assert_allclose(sum(values), expected, rtol=1e-12)


def test_metrics_by_hand():
  log_probs = jnp.log(jnp.array([[0.5, 0.5], [0.5, 0.5]]))
  old = jnp.log(jnp.array([[0.25, 0.5], [0.5, 0.5]]))
  mask = jnp.array([[True, True], [True, False]])
  _, metrics = group_policy.loss(
    log_probs, old, jnp.ones(2), mask, ref_log_probs=old
  )
  # One ratio of three is 2, the others are 1.
  np.testing.assert_allclose(metrics["clip_fraction"], 1 / 3)
  np.testing.assert_allclose(metrics["approx_kl"], (1 - np.log(2)) / 3)
  np.testing.assert_allclose(metrics["kl"], (0.5 + np.log(2) - 1) / 3)


def test_what_is_refused():
  zeros, mask = jnp.zeros((2, 3)), jnp.ones((2, 3), bool)
  with pytest.raises(ValueError, match="ref_log_probs: got None"):
    group_policy.loss(
      zeros, zeros, jnp.zeros(2), mask, group_policy.Config(beta=0.1)
    )
  with pytest.raises(ValueError, match="a multiple of 4 rewards"):
    group_policy.advantages(jnp.zeros(6), 4)
  with pytest.raises(ValueError, match="'group', 'batch', 'none'"):
    group_policy.advantages(jnp.zeros(4), 2, "rows")
