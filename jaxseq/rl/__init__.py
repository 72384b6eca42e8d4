"""In-context reinforcement learning: environments, recurrent PPO, evaluation.

Import the modules you need: `jaxseq.rl.ppo`, `jaxseq.rl.envs`, ...
"""
