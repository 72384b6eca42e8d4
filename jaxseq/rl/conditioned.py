"""Playing a model that is asked for a return (`jaxseq.tasks.decision`)."""

import jax
import jax.numpy as jnp
import numpy as np

from jaxseq import _validate
from jaxseq._types import PyTree
from jaxseq.rl import evaluate
from jaxseq.rl import mixtures
from jaxseq.rl import recording
from jaxseq.rl import rollout
from jaxseq.rl.envs import spaces
from jaxseq.tasks import decision

Array = jax.Array


def actions_of(player: rollout.Player) -> decision.Actions:
  """Returns the actions of an environment.

  Raises:
    ValueError: if they are neither one choice nor bounded numbers in a vector.
  """
  space = spaces.convert(player.env.action_space(player.env_params))
  match space:
    case spaces.Discrete():
      return decision.Actions("discrete", space.n)
    case spaces.Box() if len(space.shape) == 1 and spaces.is_bounded(space):
      low, high = (
        tuple(np.broadcast_to(np.asarray(bound, float), space.shape).tolist())
        for bound in (space.low, space.high)
      )
      return decision.Actions("continuous", len(low), low, high)
  expected = "Discrete, or a Box of finite bounds and one axis"
  raise _validate.error("action space", space, expected)


def play(
  arm: decision.ArmConfig,
  model: decision.DecisionModel,
  variables: PyTree,
  scale: decision.Scales,
  player: rollout.Player,
  key: Array,
  targets: Array,
) -> Array:
  """Plays one whole episode for each return that is asked for.

  The model sees each token once; all that it knows of the episode is in the
  states of its mixers, which are carried from the first step to the last.

  Args:
    arm: of the model.
    model: the model.
    variables: of the model.
    scale: by what observations and returns are scaled.
    player: the environment; its network is not used.
    key: random key.
    targets: (episodes,) returns asked for.

  Returns:
    (episodes,) returns achieved.
  """
  env, env_params, _ = player
  count = targets.shape[0]
  size = recording.observation_size(player)
  key_start, key_play = jax.random.split(key)
  reset, env_step = mixtures.batched(env)
  keys = jax.random.split(key_start, count)
  observation, env_state = reset(keys, env_params)

  def step(played, key):
    env_state, observation, memory, to_go = played.state
    returns = to_go / scale.returns
    if not arm.conditioned:
      returns = jnp.zeros_like(returns)
    seen = (observation[:, :size] - scale.mean) / scale.deviation
    time = jnp.full((count,), played.time)
    output, memory = model.apply(
      variables, returns, seen, time, memory, method="decide"
    )
    action = decision.choose(model.actions, output)
    memory = model.apply(variables, action, time, memory, method="remember")
    keys = jax.random.split(key, count)
    observation, env_state, reward, terminated, truncated, _ = env_step(
      keys, env_state, action, env_params
    )
    # What follows the end of an episode does not count.
    to_go = to_go - jnp.where(played.complete, 0.0, reward)
    state = env_state, observation, memory, to_go
    return state, reward, terminated | truncated

  memory, to_go = (
    model.initial_state((count,)),
    jnp.asarray(targets, jnp.float32),
  )
  return evaluate.play(
    step,
    (env_state, observation, memory, to_go),
    key_play,
    count,
    env_params.max_steps_in_episode,
  ).episode_return


def achieved(
  arm: decision.ArmConfig,
  model: decision.DecisionModel,
  variables: PyTree,
  scale: decision.Scales,
  player: rollout.Player,
  key: Array,
  targets: tuple[float, ...],
  episodes: int,
) -> dict[str, Array]:
  """Returns the mean return over some episodes for each return asked for.

  The other arguments are those of `play`. The result has "return", for the last
  target, and "return_TARGET" for each of them.
  """
  asked = jnp.repeat(jnp.array(targets, jnp.float32), episodes)
  totals = play(arm, model, variables, scale, player, key, asked)
  means = totals.reshape(len(targets), episodes).mean(axis=1)
  return {"return": means[-1]} | {
    f"return_{target:g}": mean for target, mean in zip(targets, means)
  }
