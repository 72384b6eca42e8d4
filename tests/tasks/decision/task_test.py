"""Decision Transformer: causality, steps, padding and the imitation loss."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxseq import nn
from jaxseq.data import trajectories
from jaxseq.tasks import decision

NETWORK = nn.NetworkConfig(
  nn.StackConfig("gru", d_model=8, num_layers=1, activation="none")
)
DISCRETE = decision.Actions("discrete", 3)
CONTINUOUS = decision.Actions("continuous", 2, (-2.0, 0.0), (2.0, 1.0))


def _recorded(discrete=True):
  rng = np.random.default_rng(0)
  dones = np.zeros(30, bool)
  dones[[4, 11, 13, 29]] = True
  actions = rng.integers(0, 3, 30) if discrete else rng.uniform(0, 1, (30, 2))
  return trajectories.from_flat(
    rng.normal(size=(30, 4)), actions, rng.uniform(size=30), dones
  )


@functools.cache
def _model(actions):
  arm = decision.ArmConfig(NETWORK)
  model = decision.make_model(arm, actions, 16)
  windows = trajectories.windows(
    _recorded(actions.kind == "discrete"), jnp.array([0, 5, 9]), 5
  )
  scale = decision.scales(_recorded(actions.kind == "discrete"))
  given = decision.inputs(arm, windows, scale)
  variables = jax.jit(model.init)(jax.random.key(0), *given)
  return model, variables, windows, given


@functools.cache
def _apply(actions):
  model = _model(actions)[0]
  return jax.jit(
    lambda variables, given, reset: model.apply(variables, *given, reset=reset)
  )


def _moved(x):
  """Returns x with another third element."""
  x = x.copy()
  x[:, 2] += 1
  return x


@pytest.mark.slow
@pytest.mark.parametrize(
  "actions", [pytest.param(DISCRETE, marks=pytest.mark.slow), CONTINUOUS]
)
def test_an_action_does_not_tell_itself(actions):
  _, variables, _, given = _model(actions)
  given = jax.device_get(given)
  returns, observations, taken, timesteps = given
  apply = _apply(actions)
  no_reset = np.zeros(timesteps.shape, bool)
  before, _ = apply(variables, given, no_reset)
  other = (taken + 1) % 3 if actions.kind == "discrete" else taken + 0.5
  changed = taken.copy()
  changed[:, 2] = other[:, 2]
  after, _ = apply(
    variables, (returns, observations, changed, timesteps), no_reset
  )
  np.testing.assert_array_equal(before[:, :3], after[:, :3])
  assert np.abs(before[:, 3:] - after[:, 3:]).max() > 1e-4
  # What is asked for and seen at a step does tell of its own action.
  for changed in (
    (_moved(returns), observations, taken, timesteps),
    (returns, _moved(observations), taken, timesteps),
  ):
    after, _ = apply(variables, changed, no_reset)
    np.testing.assert_array_equal(before[:, :2], after[:, :2])
    assert np.abs(before[:, 2] - after[:, 2]).max() > 1e-4


@pytest.mark.parametrize("actions", [DISCRETE, CONTINUOUS])
def test_steps_equal_the_window(actions):
  model, variables, _, given = _model(actions)
  returns, observations, taken, timesteps = given
  expected, last = _apply(actions)(
    variables, given, jnp.zeros(timesteps.shape, bool)
  )

  @jax.jit
  def step(variables, states, i):
    output, states = model.apply(
      variables,
      returns[:, i],
      observations[:, i],
      timesteps[:, i],
      states,
      method="decide",
    )
    return output, model.apply(
      variables, taken[:, i], timesteps[:, i], states, method="remember"
    )

  states = model.initial_state((3,))
  for i in range(5):
    output, states = step(variables, states, i)
    # The same sums in another order.
    np.testing.assert_allclose(output, expected[:, i], rtol=1e-4, atol=1e-5)
  jax.tree.map(
    lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5),
    states,
    last,
  )


def test_padding_is_forgotten():
  _, variables, windows, given = _model(DISCRETE)
  mask = windows.mask
  # The last window begins three steps before the end of its episode.
  np.testing.assert_array_equal(mask[2], [False, False, True, True, True])
  first = decision.first_steps(mask)
  np.testing.assert_array_equal(first.argmax(axis=1), [0, 0, 2])
  np.testing.assert_array_equal(first.sum(axis=1), 1)
  padded, _ = _apply(DISCRETE)(variables, given, first)
  apply = jax.jit(_model(DISCRETE)[0].apply)
  alone, _ = apply(variables, *(x[2:, 2:] for x in given))
  np.testing.assert_allclose(padded[2, 2:], alone[0], rtol=1e-4, atol=1e-5)


def test_numbers_stay_within_their_bounds():
  model, variables, _, given = _model(CONTINUOUS)
  returns, observations, taken, timesteps = given
  output, _ = _apply(CONTINUOUS)(
    variables,
    (returns, 1e3 * observations, taken, timesteps),
    jnp.zeros(timesteps.shape, bool),
  )
  assert (output >= jnp.array([-2.0, 0.0])).all()
  assert (output <= jnp.array([2.0, 1.0])).all()
  np.testing.assert_array_equal(decision.choose(CONTINUOUS, output), output)
  logits = jnp.array([[0.0, 2.0, 1.0]])
  np.testing.assert_array_equal(decision.choose(DISCRETE, logits), [1])


def test_imitation_losses():
  logits = jnp.array([[0.0, 0.0, 0.0], [9.0, 0.0, 0.0], [0.0, 9.0, 0.0]])
  mask = jnp.array([True, True, False])
  loss, metrics = decision.imitation_loss(
    DISCRETE, logits, jnp.array([0, 1, 0]), mask
  )
  expected = (np.log(3) + np.log(np.exp(9) + 2)) / 2
  np.testing.assert_allclose(loss, expected, rtol=1e-6)
  assert metrics["train_accuracy"] == 0.5
  outputs = jnp.array([[1.0, 2.0], [0.0, 0.0], [5.0, 5.0]])
  loss, _ = decision.imitation_loss(
    CONTINUOUS, outputs, jnp.array([[0.0, 0.0], [0.0, 1.0], [0.0, 0.0]]), mask
  )
  np.testing.assert_allclose(loss, ((1 + 4) / 2 + 1 / 2) / 2, rtol=1e-6)


def test_the_problem_of_an_arm():
  recorded = _recorded()
  arm = decision.ArmConfig(
    NETWORK, batch_size=6, conditioned=False, top_share=0.25
  )
  model = decision.make_model(arm, DISCRETE, 16)
  problem = decision.Problem(
    arm,
    model,
    recorded,
    context=5,
    play=lambda variables, scale: {"return": scale.returns},
  )
  # One of the four episodes, the one with the highest return: it is the last.
  learnt = problem.data["recorded"]
  np.testing.assert_array_equal(learnt.rewards, recorded.rewards[14:])
  variables = jax.jit(problem.init)(jax.random.key(0))
  scale = problem.data["scale"]
  np.testing.assert_allclose(scale.returns, recorded.rewards[14:].sum())
  batch = jax.jit(problem.sample)(jax.random.key(1), 0, problem.data)
  assert batch[0].mask.shape == (6, 5)
  # A clone does not see the returns.
  given = decision.inputs(arm, *batch)
  np.testing.assert_array_equal(given[0], 0)
  loss, _ = jax.jit(problem.loss)(variables, batch, None, jax.random.key(2))
  outputs, _ = jax.jit(model.apply)(
    variables, *given, reset=decision.first_steps(batch[0].mask)
  )
  log_p = jax.nn.log_softmax(outputs)
  picked = jnp.take_along_axis(log_p, batch[0].actions[..., None], -1)[..., 0]
  np.testing.assert_allclose(loss, -picked[batch[0].mask].mean(), rtol=1e-5)
  metrics = problem.evaluate(variables, problem.data)
  assert metrics["return"] == scale.returns


def test_wrong_options():
  with pytest.raises(
    ValueError,
    match="top_share: got 0, expected a number above 0 and of at most 1",
  ):
    decision.ArmConfig(top_share=0)
  with pytest.raises(ValueError, match="pooling: got 'mean', expected 'none'"):
    decision.make_model(
      decision.ArmConfig(
        nn.NetworkConfig(nn.StackConfig("gru"), pooling="mean")
      ),
      DISCRETE,
      5,
    )
  with pytest.raises(ValueError, match="norm: got 'batch'"):
    decision.make_model(
      decision.ArmConfig(nn.NetworkConfig(nn.StackConfig("gru", norm="batch"))),
      DISCRETE,
      5,
    )
  both = nn.NetworkConfig(nn.StackConfig("gru", bidirectional=True))
  with pytest.raises(ValueError, match="bidirectional: got True"):
    decision.make_model(decision.ArmConfig(both), DISCRETE, 5)
  arm = decision.ArmConfig(NETWORK)
  with pytest.raises(ValueError, match="the actions: got shape .30"):
    decision.Problem(
      arm,
      decision.make_model(arm, CONTINUOUS, 5),
      _recorded(),
      context=5,
      play=lambda variables, scale: {},
    )
