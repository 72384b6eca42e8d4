"""Environments that need memory, with the interface of gymnax 1.0.

    env, params = envs.make("RepeatPreviousEasy")
    observation, state = env.reset(key, params)
    observation, state, reward, terminated, truncated, info = env.step(
      key, state, action, params
    )

`register` makes an environment of your own known to `make`, which knows those
of gymnax, too; `register_with_gymnax` tells `gymnax.make` of those known here.
gymnax is imported when it is first needed: its import puts arrays on a device,
and the imports of jaxseq do not.
"""

from jaxseq.rl.envs.registry import make
from jaxseq.rl.envs.registry import names
from jaxseq.rl.envs.registry import register
from jaxseq.rl.envs.registry import register_with_gymnax

__all__ = ["make", "names", "register", "register_with_gymnax"]
