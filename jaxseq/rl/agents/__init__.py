"""The agents: PPO and R2D2, each a module of pure functions."""
