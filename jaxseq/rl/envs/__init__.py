"""Environments that need memory, with the interface of gymnax 1.0.

    env, params = envs.make("RepeatPreviousEasy")
    observation, state = env.reset(key, params)
    observation, state, reward, terminated, truncated, info = env.step(
      key, state, action, params
    )

Importing this package also makes its environments known to `gymnax.make`.
"""

from jaxseq.rl.envs.registry import make
from jaxseq.rl.envs.registry import names
from jaxseq.rl.envs.registry import register

__all__ = ["make", "names"]

register()
