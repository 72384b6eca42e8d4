"""The tiny projected cart-pole with one arm."""

from configs.icrl import projected_cartpole


def get_config():
  config = projected_cartpole.get_config("tiny")
  config.arms = {"gru": config.arms.gru}
  return config
