"""The tiny digits with one arm and many chunks, for tests that stop it."""

from configs.classify import digits


def get_config():
  config = digits.get_config("tiny")
  del config.arms["s5"]
  config.num_updates = 400
  config.updates_per_chunk = 4
  config.chunks_per_evaluation = 1000
  config.chunks_per_checkpoint = 1000
  config.tensorboard = False
  return config
