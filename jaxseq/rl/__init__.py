"""In-context reinforcement learning: environments, algorithms, evaluation.

Import the modules you need: `jaxseq.rl.ppo`, `jaxseq.rl.r2d2`,
`jaxseq.rl.envs`, ...
"""
