"""The arms of the tiny variant, one seed."""

from configs.spr import minatar_memory


def get_config():
  config = minatar_memory.get_config("tiny")
  config.num_seeds = 1
  config.keep_checkpoints = 9
  return config
