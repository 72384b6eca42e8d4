r"""An ablation of S5 on a memory task: one choice changed in each arm.

    python -m experiments.icrl --workdir=DIR \
      --config=configs/icrl/ablation.py:RepeatFirstEasy

The arm "s5" is that of the quickstart; the argument is a game of POPGym, or
another environment without trials. In the arm "stale_flags" the first
observation of an episode contains the last action of the previous episode and
no first-step flag: the flag is set once, at the start of training. This happens
if the history is added outside of an environment that resets itself, as in the
published code of arXiv:2303.03982. `RepeatFirstEasy,tiny` only checks that
everything works, in a minute or two of compilation at first.
"""

import dataclasses
import functools
from typing import Any
from typing import ClassVar

import jax
import jax.numpy as jnp

from configs.icrl import quickstart
from jaxseq.rl import envs
from jaxseq.rl import rl_arms
from jaxseq.rl import wrappers
from jaxseq.rl.envs import spaces
from jaxseq.training import configuration


@dataclasses.dataclass(frozen=True)
class StaleHistory(wrappers.FlattenHistory):
  """Observations whose history parts ignore the end of an episode."""

  # Policies do not add the previous action and a flag again.
  shows_history: ClassVar[bool] = True

  @functools.partial(jax.jit, static_argnames=("self",))
  def step(
    self, key: jax.Array, state: Any, action: Any, params: Any = None
  ) -> tuple[jax.Array, Any, jax.Array, jax.Array, jax.Array, dict[str, Any]]:
    """Plays one step; see `Wrapper.step`."""
    params = self.env.default_params if params is None else params
    flat, *rest = super().step(key, state, action, params)
    shown = spaces.flat_size(self.env.observation_space(params))
    taken = spaces.flatten(self.env.action_space(params), action)
    return flat.at[shown:].set(jnp.append(taken, 0.0)), *rest


def _stale(env_id: str) -> str:
  """Registers an environment with stale flags, and returns its id."""
  name = f"{env_id}-stale"
  envs.register(name, lambda: StaleHistory(envs.make(env_id)[0]))
  return name


def get_config(argument: str = "RepeatFirstEasy") -> rl_arms.Config:
  env_id, _, variant = argument.partition(",")
  config = quickstart.get_config(variant or "full")
  s5 = config.arms["s5"]

  def changed(**options: Any) -> dict[str, Any]:
    return configuration.merged(s5, {"network": {"stack": options}})

  arms = {
    "s5": s5,
    "stale_flags": {**s5, "env_id": _stale(env_id)},
    "no_norm": changed(norm="none"),
    "slow_ssm": {**s5, "ssm_learning_rate_factor": 0.1},
    "constant_rate": {**s5, "learning_rate_schedule": "constant"},
    "clip_eigs": changed(mixer_options={"clip_eigs": True}),
  }
  if variant == "tiny":
    # Every arm takes equally long to compile.
    arms = {name: arms[name] for name in ("s5", "stale_flags")}
  return configuration.updated(
    config,
    num_seeds=4 if variant != "tiny" else 1,
    references={},
    agent={"env_id": env_id},
    arms=arms,
  )
