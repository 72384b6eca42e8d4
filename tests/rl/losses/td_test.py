import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxseq.rl.losses import td

# Float64 rounding of sums over at most 17 steps.
ATOL = 1e-12


def _episodes(time, batch=6, seed=0):
  """Random sequences in which terminations and cuts are frequent."""
  rng = np.random.default_rng(seed)
  reward = rng.normal(size=(batch, time))
  value = rng.normal(size=(batch, time + 1))
  terminated, cut = rng.random((2, batch, time)) < 0.25
  # Nothing is done at a cut, so that nothing ends there.
  return reward, value, terminated & ~cut, cut


def _n_step(reward, value, terminated, cut, gamma, n):
  """Looks ahead from each step of one sequence, as the definition says."""
  time = len(reward)
  out = np.zeros(time)
  for t in range(time):
    total, discount = 0.0, 1.0
    for k in range(n + 1):
      i = t + k
      if k == n or i == time or cut[i]:
        total += discount * value[i]
        break
      total += discount * reward[i]
      if terminated[i]:
        break
      discount *= gamma
    out[t] = total
  return out


def _lambda(reward, value, terminated, cut, gamma, lam):
  """Goes back through one sequence step by step."""
  out = np.zeros(len(reward))
  following = value[-1]
  for t in reversed(range(len(reward))):
    if cut[t]:
      following = value[t]
    else:
      ahead = (1 - lam) * value[t + 1] + lam * following
      following = reward[t] + (0.0 if terminated[t] else gamma * ahead)
    out[t] = following
  return out


@pytest.mark.parametrize("time", [1, 2, 17])
def test_targets_match_their_definitions(x64, time):
  data = _episodes(time, seed=time)
  n_step = jax.jit(td.n_step_targets, static_argnames=("gamma", "num_steps"))
  by_lambda = jax.jit(td.lambda_targets, static_argnames=("gamma", "q_lambda"))
  for n in (1, 3, 20):
    actual = n_step(*data, gamma=0.9, num_steps=n)
    expected = [_n_step(*one, 0.9, n) for one in zip(*data)]
    np.testing.assert_allclose(actual, expected, atol=ATOL)
  for lam in (0.0, 0.7, 1.0):
    actual = by_lambda(*data, gamma=0.9, q_lambda=lam)
    expected = [_lambda(*one, 0.9, lam) for one in zip(*data)]
    np.testing.assert_allclose(actual, expected, atol=ATOL)


def test_targets_worked_out_by_hand(x64):
  # The first episode terminates after step 1. The second is cut off: step 3 is
  # its last observation, worth 40.
  reward = np.array([1.0, 2.0, 4.0, -99.0, 8.0])
  value = np.array([10.0, 20.0, 30.0, 40.0, 50.0, 60.0])
  terminated = np.array([False, True, False, False, False])
  cut = np.array([False, False, False, True, False])
  data = (reward, value, terminated, cut)
  expected = [1 + 0.5 * 2, 2, 4 + 0.5 * 40, 40, 8 + 0.5 * 60]
  np.testing.assert_array_equal(
    td.n_step_targets(*data, gamma=0.5, num_steps=3), expected
  )
  np.testing.assert_array_equal(
    td.lambda_targets(*data, gamma=0.5, q_lambda=1.0), expected
  )


def test_unread_rewards_may_be_anything(x64):
  reward, value, terminated, cut = _episodes(9)
  # At a cut nothing is done and nothing is paid.
  dirty = np.where(cut, np.nan, reward)
  for options in ({"num_steps": 4}, {"q_lambda": 0.8}):
    name = "n_step" if "num_steps" in options else "lambda"
    function = getattr(td, f"{name}_targets")
    np.testing.assert_array_equal(
      function(dirty, value, terminated, cut, gamma=0.9, **options),
      function(reward, value, terminated, cut, gamma=0.9, **options),
    )


def test_no_gradient_flows_through_targets():
  zeros, never = jnp.zeros((1, 4)), jnp.zeros((1, 4), bool)

  def total(value):
    one = td.n_step_targets(zeros, value, never, never, gamma=0.9, num_steps=2)
    two = td.lambda_targets(zeros, value, never, never, gamma=0.9, q_lambda=0.5)
    return one.sum() + two.sum()

  np.testing.assert_array_equal(jax.grad(total)(jnp.ones((1, 5))), 0.0)


def test_rescaling_and_its_inverse(x64):
  x = np.concatenate([-np.logspace(-6, 5, 40), [0.0], np.logspace(-6, 5, 40)])
  y = td.rescale(x)
  expected = np.sign(x) * (np.sqrt(np.abs(x) + 1) - 1) + 1e-3 * x
  np.testing.assert_allclose(y, expected, rtol=1e-12)
  # The forward map itself loses digits of small numbers, in sqrt(x + 1) - 1.
  np.testing.assert_allclose(td.unrescale(y), x, rtol=1e-9, atol=1e-15)
  textbook = ((np.sqrt(1 + 4e-3 * (np.abs(y) + 1 + 1e-3)) - 1) / 2e-3) ** 2 - 1
  np.testing.assert_allclose(
    td.unrescale(y), np.sign(y) * textbook, rtol=1e-9, atol=1e-9
  )


def test_the_inverse_is_exact_in_float32():
  y = np.concatenate([np.linspace(-30, 30, 61), [1e-4, 1e-3, 1e-2]])
  with jax.enable_x64(True):
    exact = np.asarray(td.unrescale(y))
  actual = td.unrescale(jnp.asarray(y, jnp.float32))
  # A few roundings of 6e-8; the textbook's form is off by 1e-5 at 1.
  np.testing.assert_allclose(actual, exact, rtol=2e-6, atol=3e-7)


def test_double_q_takes_the_other_networks_value():
  online = jnp.array([[1.0, 3.0, 2.0], [5.0, 4.0, 0.0]])
  target = jnp.array([[7.0, -1.0, 9.0], [2.0, 8.0, 9.0]])
  np.testing.assert_array_equal(td.double_q(online, target), [-1.0, 2.0])


def test_errors_and_their_loss():
  values = jnp.array([[[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]]] * 2)
  action = jnp.array([[0, 1, 0], [1, 1, 1]])
  target = jnp.array([[2.0, 1.0, 9.0], [2.0, 4.0, 7.0]])
  counts = jnp.array([[True, True, False], [True, True, True]])
  error, chosen = td.td_errors(values, action, target, counts)
  np.testing.assert_array_equal(chosen, [[1, 4, 5], [2, 4, 6]])
  np.testing.assert_array_equal(error, [[1, -3, 0], [0, 0, 1]])
  loss = td.squared_loss(error, jnp.array([0.5, 1.0]), counts)
  # Five steps count; the first sequence has half the weight.
  np.testing.assert_allclose(loss, 0.5 * (0.5 * 10 + 1) / 5, rtol=1e-6)
  nothing = jnp.zeros_like(counts)
  none, _ = td.td_errors(values, action, target, nothing)
  assert td.squared_loss(none, jnp.ones(2), nothing) == 0


def test_shapes_are_checked():
  reward, value, terminated, cut = _episodes(4)
  with pytest.raises(AssertionError):
    td.n_step_targets(
      reward, value[:, 1:], terminated, cut, gamma=0.9, num_steps=1
    )
  with pytest.raises(AssertionError):
    td.lambda_targets(
      reward, value, terminated.astype(float), cut, gamma=0.9, q_lambda=0.9
    )


def test_n_step_returns_equal_the_reference(x64, golden):
  arrays = golden("spr/nstep_n10")
  gamma, n = float(arrays["gamma"]), int(arrays["n_step"])
  r_t = jnp.asarray(arrays["reward"]).T
  discount_t = jnp.where(arrays["done"].T, 0, gamma)
  returns, discounts = td.n_step_returns(r_t, discount_t, n)
  tolerance = {"rtol": 1e-10, "atol": 1e-12}
  np.testing.assert_allclose(returns.T, arrays["return_n"], **tolerance)
  np.testing.assert_array_equal(discounts.T == 0, arrays["done_n"])
  np.testing.assert_allclose(
    discounts.T, np.where(arrays["done_n"], 0, gamma**n), **tolerance
  )
  # n may be traced, below a bound.
  run = jax.jit(lambda n: td.n_step_returns(r_t, discount_t, n, max_steps=12))
  for steps in (1, 3, 10):
    want = td.n_step_returns(r_t, discount_t, steps)
    got = run(steps)
    for a, b in zip(got, want):
      np.testing.assert_allclose(a, b[..., : a.shape[-1]], **tolerance)
    assert got[0].shape[-1] == 29


def test_dueling_and_actions_of_any_shape():
  advantages = jnp.arange(24.0).reshape(2, 4, 3)
  got = td.dueling(jnp.ones((2, 1, 3)), advantages, axis=-2)
  np.testing.assert_allclose(got.mean(axis=-2), 1, rtol=1e-6)
  np.testing.assert_allclose(got[:, 1] - got[:, 0], 3, rtol=1e-6)
  action = jnp.array([2, 0])
  np.testing.assert_array_equal(
    td.take_action(advantages, action), [advantages[0, 2], advantages[1, 0]]
  )
