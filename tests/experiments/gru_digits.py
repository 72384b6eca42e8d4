"""The tiny digits with one arm and many chunks, for tests that stop it."""

from configs.classify import digits
from jaxseq.training import configuration


def get_config():
  config = digits.get_config("tiny")
  return configuration.updated(
    config,
    arms={"gru": config.arms["gru"]},
    # Rounding grows with a training: after 100 updates it is 1e-7 of the loss,
    # after 200 2e-7, and after 300, where the gradients are steep, 1e-5.
    num_updates=200,
    batch_size=8,
    updates_per_chunk=2,
    chunks_per_evaluation=1000,
    chunks_per_checkpoint=1000,
    tensorboard=False,
  )
