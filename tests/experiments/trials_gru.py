"""The tiny projected cart-pole with one arm, and a second evaluation."""

from configs.icrl import projected_cartpole


def get_config():
  config = projected_cartpole.get_config("tiny")
  config.arms = {"gru": config.arms.gru}
  config.evaluations = {"three trials": {"num_trials": 3}}
  return config
