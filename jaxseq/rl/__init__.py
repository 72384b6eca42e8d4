"""In-context reinforcement learning: environments, algorithms, evaluation.

Import the modules you need: `jaxseq.rl.agents.ppo`, `jaxseq.rl.agents.r2d2`,
`jaxseq.rl.envs`, ...
"""

from jaxseq.rl import device_free  # noqa: F401, before others import gymnax
