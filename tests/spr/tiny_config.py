"""One arm and one seed of the quick config's tiny variant."""

from configs.spr import minatar_quick


def get_config():
  config = minatar_quick.get_config("tiny")
  config.arms = {"spr": {}}
  config.num_seeds = 1
  config.keep_checkpoints = 9
  return config
