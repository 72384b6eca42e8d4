"""Targets and losses of reinforcement learning as pure functions of arrays."""
