import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxseq import nn
from jaxseq.rl.losses import soft
from jaxseq.rl.losses import td

# Float64 rounding of means over 28 elements, and of their gradients.
ATOL = 1e-12


def _dense(weights, name, x):
  return x @ weights[f"{name}.weight"].T + weights[f"{name}.bias"]


def _memory(weights, data):
  """Ni et al.'s embeddings of what came before and of what is seen, and GRU."""
  names = {"action": "action", "reward": "reward", "observ": "observation"}
  x = jnp.concatenate(
    [
      jax.nn.relu(_dense(weights, f"{name}_embedder.fc", data[key]))
      for name, key in names.items()
    ],
    axis=-1,
  )
  h, out = jnp.zeros((x.shape[1], weights["rnn.weight_hh_l0"].shape[1])), []
  for x_t in x:
    of_x = x_t @ weights["rnn.weight_ih_l0"].T + weights["rnn.bias_ih_l0"]
    of_h = h @ weights["rnn.weight_hh_l0"].T + weights["rnn.bias_hh_l0"]
    (x_r, x_z, x_n), (h_r, h_z, h_n) = (
      jnp.split(gates, 3, axis=-1) for gates in (of_x, of_h)
    )
    r, z = jax.nn.sigmoid(x_r + h_r), jax.nn.sigmoid(x_z + h_z)
    h = (1 - z) * jnp.tanh(x_n + r * h_n) + z * h
    out.append(h)
  return jnp.stack(out)


def _actor(weights, data):
  short = _dense(weights, "current_observ_embedder.fc", data["observation"])
  x = jnp.concatenate([_memory(weights, data), jax.nn.relu(short)], axis=-1)
  x = jax.nn.relu(_dense(weights, "policy.fc0", x))
  log_std = _dense(weights, "policy.last_fc_log_std", x)
  mean = _dense(weights, "policy.last_fc", x)
  return nn.SquashedGaussian(mean, jnp.clip(log_std, -20, 2))


def _values(weights, h, observation, action):
  short = jnp.concatenate([observation, action], axis=-1)
  short = jax.nn.relu(_dense(weights, "current_shortcut_embedder.fc", short))
  x = jnp.concatenate([h, short], axis=-1)
  heads = [
    _dense(
      weights,
      f"{name}.last_fc",
      jax.nn.relu(_dense(weights, f"{name}.fc0", x)),
    )[..., 0]
    for name in ("qf1", "qf2")
  ]
  return jnp.stack(heads)


def _released(policy, noise):
  """An action, and its log-probability with 1e-6 inside the logarithm."""
  action, _ = policy.of_noise(noise)
  normal = nn.DiagonalGaussian(jnp.zeros_like(noise), policy.log_std)
  log_prob = normal.log_prob(jnp.exp(policy.log_std) * noise)
  return action, log_prob - jnp.log(1 - action**2 + 1e-6).sum(axis=-1)


def _weights(data, name):
  start = f"{name}/"
  return {
    key.removeprefix(start): jnp.asarray(x)
    for key, x in data.items()
    if key.startswith(start)
  }


def test_losses_of_whole_episodes_are_those_of_the_released_code(golden, x64):
  data = golden("icrl/recurrent_sac")
  critic, actor, target = (
    _weights(data, name) for name in ("critic", "actor", "critic_target")
  )
  observation, alpha = jnp.asarray(data["observation"]), float(data["alpha"])
  mask = jnp.asarray(data["mask"][..., 0] > 0)
  h_target = _memory(target, data)

  def loss(critic, actor):
    policy, h = _actor(actor, data), _memory(critic, data)
    action, log_prob = _released(policy, jnp.asarray(data["noise_target"]))
    v = soft.value(
      _values(target, h_target, observation, action), log_prob, alpha
    )
    ended = jnp.asarray(data["done"][1:, :, 0] > 0)
    y = td.n_step_targets(
      jnp.asarray(data["reward"])[1:, :, 0].T,
      v.T,
      ended.T,
      jnp.zeros_like(ended).T,
      gamma=float(data["gamma"]),
      num_steps=1,
    ).T
    done = jnp.asarray(data["action"])[1:]
    q = _values(critic, h[:-1], observation[:-1], done)
    errors = jnp.square(y - q)
    action, log_prob = _released(policy, jnp.asarray(data["noise_actor"]))
    held = jax.lax.stop_gradient((critic, h))
    q_new = _values(held[0], held[1], observation, action)
    of_actor = -soft.mean(soft.value(q_new, log_prob, alpha)[:-1], mask)
    parts = y, q, [soft.mean(e, mask) for e in errors], of_actor, log_prob
    return sum(parts[2]) + of_actor, parts

  gradient = jax.value_and_grad(loss, argnums=(0, 1), has_aux=True)
  (_, parts), gradients = jax.jit(gradient)(critic, actor)
  y, q, of_critic, of_actor, log_prob = parts
  np.testing.assert_allclose(y, data["target"][..., 0], atol=ATOL)
  for i in range(2):
    np.testing.assert_allclose(q[i], data[f"q{i + 1}"][..., 0], atol=ATOL)
    expected = data[f"critic_loss_{i + 1}"]
    np.testing.assert_allclose(of_critic[i], expected, atol=ATOL)
  np.testing.assert_allclose(of_actor, data["actor_loss"], atol=ATOL)
  np.testing.assert_allclose(log_prob, data["log_prob"][..., 0], atol=ATOL)
  for name, tree in zip(("critic", "actor"), gradients):
    for key, expected in _weights(data, f"grad_{name}").items():
      np.testing.assert_allclose(tree[key], expected, atol=ATOL, err_msg=key)
  # Episodes of several lengths are in it.
  assert not mask.all()


def test_the_temperature_is_that_of_the_released_code(golden, x64):
  data = golden("icrl/recurrent_sac")
  arguments = -data["mean_log_prob"], float(data["target_entropy"])
  value, gradient = jax.value_and_grad(soft.temperature_loss)(
    jnp.asarray(data["log_alpha"]), *arguments
  )
  np.testing.assert_allclose(value, data["alpha_loss"], atol=ATOL)
  np.testing.assert_allclose(gradient, data["grad_log_alpha"], atol=ATOL)
  other = jax.grad(soft.temperature_loss)(
    jnp.asarray(data["log_alpha"]), *arguments, "log_alpha"
  )
  np.testing.assert_allclose(gradient, data["alpha"] * other, atol=ATOL)


def test_one_choice_is_that_of_the_released_code(golden, x64):
  data = golden("icrl/recurrent_sac")
  q = jnp.stack([data["discrete/q1"], data["discrete/q2"]])
  alpha = float(data["alpha"])

  def value(logits):
    return soft.expected_value(q, jax.nn.log_softmax(logits), alpha)

  logits = jnp.asarray(data["discrete/logits"])
  v = value(logits)
  np.testing.assert_allclose(v, data["discrete/soft_value"], atol=ATOL)
  mask = jnp.asarray(data["mask"][..., 0] > 0)
  loss, gradient = jax.value_and_grad(lambda x: -soft.mean(value(x), mask))(
    logits
  )
  np.testing.assert_allclose(loss, data["discrete/actor_loss"], atol=ATOL)
  np.testing.assert_allclose(gradient, data["discrete/grad_logits"], atol=ATOL)


def test_a_forbidden_choice_counts_nothing():
  def value(logits):
    q = jnp.array([[1.0, 5.0, 2.0], [2.0, 9.0, 1.0]])
    return soft.expected_value(q, jax.nn.log_softmax(logits), 0.5)

  logits = jnp.array([0.0, -jnp.inf, 0.0])
  v, gradient = jax.value_and_grad(value)(logits)
  np.testing.assert_allclose(v, 1 + 0.5 * np.log(2), rtol=1e-6)
  assert np.isfinite(gradient).all()
  assert gradient[1] == 0


def test_a_mean_over_nothing_is_0():
  x, nothing = jnp.array([jnp.nan, 1.0]), jnp.zeros(2, bool)
  assert soft.mean(x, nothing) == 0
  assert soft.mean(x, jnp.array([False, True])) == 1


@pytest.mark.parametrize("form", ["alpha", "log_alpha"])
@pytest.mark.parametrize("alpha", [0.05, 5.0])
def test_the_entropy_comes_to_its_target_from_both_sides(form, alpha):
  # The policy that is best at each temperature, of four choices.
  q, target = jnp.array([1.0, 0.0, -1.0, 0.5]), 0.8

  def entropy(log_alpha):
    return nn.Categorical(q / jnp.exp(log_alpha)).entropy()

  @jax.jit
  def step(log_alpha, _):
    gradient = jax.grad(soft.temperature_loss)(
      log_alpha, entropy(log_alpha), target, form
    )
    return log_alpha - 0.2 * gradient, entropy(log_alpha)

  _, path = jax.lax.scan(step, jnp.log(alpha), None, length=800)
  assert (path[0] < target) == (alpha < 1)
  np.testing.assert_allclose(path[-1], target, atol=1e-3)
  # Never away from it.
  distance = np.abs(path - target)
  assert (np.diff(distance) <= 1e-6).all()
