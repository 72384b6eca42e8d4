r"""Recurrent SAC with hidden velocities, with and without a memory.

    python -m experiments.icrl --config=configs/icrl/continuous_control.py \
      --workdir=runs/continuous_control

A pendulum is swung up by a torque, and shows its position but not its velocity
(PositionOnlyPendulumEasy of POPGym; a return of 1 would be a pendulum that
stands still from the first step on). The arms are one agent with S5, with a
GRU, with GTrXL, and without memory; "shown" is the GRU if the velocity is
shown, too. The means of three seeds are 0.90 with the GRU, with the shown
velocity and with GTrXL, 0.76 with S5 (one seed is slower), and 0.21
without memory. A step of two seeds takes a third of a millisecond of one core,
and an arm compiles for most of a minute.

    --config=configs/icrl/continuous_control.py:ppo

is PPO with the same memories, and 409,600 steps instead of 64,000: 0.55 with
the GRU, and 0.87 with the shown velocity;

    --config=configs/icrl/continuous_control.py:cartpole

is SAC on PositionOnlyCartPoleEasy, with discrete actions;

    --config=configs/icrl/continuous_control.py:inverted_double_pendulum

is SAC on two poles, one on the other, on a cart of Brax (`pip install
'.[brax]'`), and `:inverted_pendulum` has one pole; both show only positions,
and in the arm "shown" also velocities. Episodes have 200 steps and pay 1 at
most. The suffix `_ppo` of either name is PPO, 1.5 minutes of a core per arm,
half of it compilation. On one pole SAC reaches 1.00 in evaluation with the GRU
and 0.40 without memory, and PPO, whose agent without memory holds the pole if
actions are not sampled, 0.93 in training with S5 and 0.73 without memory; on
two poles PPO has 0.51 with the GRU and 0.45 without memory, and SAC does not
learn them in its 40,000 steps. `:tiny` only checks in a minute that everything
works.
"""

import dataclasses
import functools
import math

import jax
import jax.numpy as jnp

from configs import blocks
from configs import variants
from configs.icrl import quickstart
from jaxseq.rl import envs
from jaxseq.rl import rl_arms
from jaxseq.rl import wrappers
from jaxseq.rl.envs import cartpole
from jaxseq.rl.envs import pendulum
from jaxseq.rl.envs import spaces
from jaxseq.training import configuration


@dataclasses.dataclass(frozen=True)
class Pendulum(pendulum.PositionOnlyPendulum):
  """The pendulum with visible velocity."""

  observations = spaces.Box(-math.inf, math.inf, (3,))

  def observe(self, state: pendulum.EnvState, params: object) -> jax.Array:
    """Returns cosine, sine and velocity, (3,) float32."""
    seen = super().observe(state, params)
    return jnp.append(seen, state.theta_dot)


@dataclasses.dataclass(frozen=True)
class CartPole(cartpole.PositionOnlyCartPole):
  """The cart-pole with visible velocities."""

  observations = spaces.Box(-math.inf, math.inf, (4,))

  def observe(self, state: cartpole.EnvState, params: object) -> jax.Array:
    """Returns positions and velocities, (4,) float32."""
    seen = super().observe(state, params)
    return jnp.concatenate([seen, jnp.stack([state.x_dot, state.theta_dot])])


@dataclasses.dataclass(frozen=True)
class Paid(wrappers.Shown):
  """Shows some of the numbers, and scales the rewards.

  Attributes, in addition to those of `wrappers.Shown`:
    share: factor of the rewards.
  """

  share: float = 1.0

  def _step(self, key, state, action, params):
    shown, state, reward, *rest = super()._step(key, state, action, params)
    return shown, state, self.share * reward, *rest


# Brax's pendulums: the largest reward of a step, and the numbers of positions,
# which come first, and velocities.
BRAX = {
  "inverted_pendulum": (1, 2, 2),
  "inverted_double_pendulum": (10, 5, 3),
}
LIMIT = 200


def _brax(body: str, shown: str) -> Paid:
  """Returns a pendulum of Brax that shows its positions, or all numbers."""
  pays, positions, velocities = BRAX[body]
  # The simulation by springs is two to three times as fast as the default.
  env, _ = envs.make(f"brax/{body}", backend="spring", episode_length=LIMIT)
  indices = range(positions + velocities if shown == "PV" else positions)
  return Paid(env, tuple(indices), share=1 / (pays * LIMIT))


envs.register("PendulumShown", Pendulum)
envs.register("CartPoleShown", CartPole)
for _body in BRAX:
  for _shown in ("P", "PV"):
    _make = functools.partial(_brax, _body, _shown)
    envs.register(f"{_body}-{_shown}", _make)

GRU = {**quickstart.GRU, "d_model": 32, "norm": "layer"}
S5 = {
  **quickstart.S5,
  "mixer_options": {"ssm_size": 32, "blocks": 1},
  "d_model": 32,
  "num_layers": 1,
}
GTRXL = blocks.gtrxl(32, window=16, num_layers=1)
WIDTHS = {"encoder_widths": (64,), "head_widths": (64, 64)}


def arms(shown: str) -> dict[str, dict]:
  """Returns the arms; the arm "shown" plays the environment of that id."""
  none = {**GRU, "num_layers": 0}
  all_arms = quickstart.arms(
    WIDTHS, gru=GRU, none=none, shown=GRU, s5=S5, gtrxl=GTRXL
  )
  all_arms["shown"]["env_id"] = shown
  return all_arms


FULL = rl_arms.Config(
  algorithm="sac",
  num_seeds=2,
  evaluation_greedy=True,
  updates_per_chunk=5,
  chunks_per_checkpoint=10,
  agent={
    "env_id": "PositionOnlyPendulumEasy",
    "num_envs": 8,
    "sequence_length": 40,
    "burn_in": 8,
    "total_steps": 64_000,
    "replay_sequences": 1000,
    "learning_starts": 32,
    "num_minibatches": 16,
    "batch_size": 16,
    "learning_rate": 1e-3,
    "gamma": 0.95,
    "tau": 0.01,
    "reward_scale": 200.0,
    "initial_alpha": 0.1,
  },
  arms=arms("PendulumShown"),
)
PPO = dataclasses.replace(
  FULL,
  algorithm="ppo",
  updates_per_chunk=10,
  agent={
    **quickstart.FULL.agent,
    "env_id": "PositionOnlyPendulumEasy",
    "total_steps": 409_600,
    "normalize_observation": False,
  },
)
CARTPOLE = configuration.updated(
  FULL,
  agent={"env_id": "PositionOnlyCartPoleEasy", "gamma": 0.99},
  arms=arms("CartPoleShown"),
)


def _pendulum(body: str, total_steps: int) -> dict[str, rl_arms.Config]:
  """Returns SAC and PPO on a pendulum of Brax, by the variant's name."""
  env = {"env_id": f"{body}-P"}
  both = {"arms": arms(f"{body}-PV"), "agent": env}
  sac = configuration.updated(FULL, **both)
  ppo = configuration.updated(PPO, **both)
  rollouts = {"num_envs": 32, "rollout_length": 128}
  return {
    body: configuration.updated(sac, agent={"total_steps": total_steps}),
    f"{body}_ppo": configuration.updated(
      ppo, agent={**rollouts, "total_steps": 204_800}
    ),
  }


TINY = dataclasses.replace(
  quickstart.small(
    FULL,
    sequence_length=8,
    learning_starts=4,
    num_minibatches=1,
    batch_size=2,
    total_steps=6 * 32,
  ),
  num_seeds=1,
)
get_config = variants.Variants(
  full=FULL,
  ppo=PPO,
  cartpole=CARTPOLE,
  tiny=TINY,
  **_pendulum("inverted_pendulum", total_steps=32_000),
  **_pendulum("inverted_double_pendulum", total_steps=40_000),
)
