"""The tiny digits with one arm and many chunks, for tests that stop it."""

from configs.classify import digits


def get_config():
  config = digits.get_config("tiny")
  del config.arms["s5"]
  # Rounding grows with a training: after 100 updates it is 1e-7 of the loss,
  # after 200 2e-7, and after 300, where the gradients are steep, 1e-5.
  config.num_updates = 200
  config.batch_size = 8
  config.updates_per_chunk = 2
  config.chunks_per_evaluation = 1000
  config.chunks_per_checkpoint = 1000
  config.tensorboard = False
  return config
