import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxseq.rl.losses import advantages


def _recursion(reward, value, last, terminated, truncated, final, gamma, lam):
  """The definition, one step at a time in numpy; arrays are (time, batch)."""
  advantage = np.zeros_like(reward)
  carry = np.zeros_like(last)
  following = last
  for t in reversed(range(len(reward))):
    done = terminated[t] | truncated[t]
    boot = np.where(
      terminated[t], 0.0, np.where(truncated[t], final[t], following)
    )
    carry = np.where(done, 0.0, carry)
    carry = reward[t] + gamma * boot - value[t] + gamma * lam * carry
    advantage[t] = carry
    following = value[t]
  return advantage


def _golden_arguments(data):
  names = ("rewards", "values", "terminated", "truncated", "final_values")
  arrays = {name: jnp.asarray(data[name].T) for name in names}
  arrays["last_value"] = jnp.asarray(data["last_value"])
  return arrays


@pytest.mark.parametrize("name", ["gae_a", "gae_b"])
@pytest.mark.parametrize("bootstrap", [False, True])
def test_golden(golden, x64, name, bootstrap):
  data = golden(f"icrl/{name}")
  arrays = _golden_arguments(data)
  advantage, target = advantages.gae(
    arrays["rewards"],
    arrays["values"],
    arrays["last_value"],
    arrays["terminated"],
    arrays["truncated"],
    arrays["final_values"] if bootstrap else None,
    gamma=float(data["gamma"]),
    gae_lambda=float(data["gae_lambda"]),
  )
  kind = "trunc" if bootstrap else "done"
  # Float64 rounding of a recursion over at most 33 steps.
  np.testing.assert_allclose(
    advantage.T, data[f"adv_{kind}"], rtol=0, atol=1e-12
  )
  np.testing.assert_allclose(
    target.T, data[f"target_{kind}"], rtol=0, atol=1e-12
  )


@pytest.mark.parametrize("time", [1, 2, 17])
def test_matches_the_definition_for_any_length(x64, time):
  rng = np.random.default_rng(time)
  shape = (time, 5)
  reward, value, final = rng.normal(size=(3, *shape))
  last = rng.normal(size=5)
  terminated, truncated = rng.random((2, *shape)) < 0.3
  expected = _recursion(
    reward, value, last, terminated, truncated, final, 0.97, 0.9
  )
  advantage, target = jax.jit(
    advantages.gae, static_argnames=("gamma", "gae_lambda")
  )(
    reward.T,
    value.T,
    last,
    terminated.T,
    truncated.T,
    final.T,
    gamma=0.97,
    gae_lambda=0.9,
  )
  np.testing.assert_allclose(advantage.T, expected, atol=1e-12)
  np.testing.assert_allclose(target.T, expected + value, atol=1e-12)


def test_unread_final_values_may_be_anything(x64):
  rng = np.random.default_rng(0)
  reward, value, final = rng.normal(size=(3, 2, 9))
  last = rng.normal(size=2)
  terminated, truncated = rng.random((2, 2, 9)) < 0.3
  arguments = (reward, value, last, terminated, truncated)
  unread = np.where(truncated & ~terminated, final, np.nan)
  options = {"gamma": 0.9, "gae_lambda": 0.8}
  expected, _ = advantages.gae(*arguments, final, **options)
  actual, _ = advantages.gae(*arguments, unread, **options)
  np.testing.assert_array_equal(actual, expected)


def test_no_gradient_flows_through_the_results():
  zeros, never = jnp.zeros((1, 4)), jnp.zeros((1, 4), bool)

  def total(value):
    advantage, target = advantages.gae(
      zeros, value, value[:, 0], never, never, gamma=0.9, gae_lambda=0.9
    )
    return advantage.sum() + target.sum()

  np.testing.assert_array_equal(jax.grad(total)(jnp.ones((1, 4))), 0.0)


def test_shapes_are_checked():
  zeros, never = jnp.zeros((3, 4)), jnp.zeros((3, 4), bool)
  with pytest.raises(AssertionError):
    advantages.gae(
      zeros, zeros, jnp.zeros(4), never, never, gamma=0.9, gae_lambda=0.9
    )
