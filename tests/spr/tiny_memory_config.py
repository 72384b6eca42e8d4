"""The arms of the tiny variant, one seed."""

from configs.spr import minatar_memory
from jaxseq.training import configuration


def get_config():
  return configuration.updated(
    minatar_memory.get_config("tiny"), num_seeds=1, keep_checkpoints=9
  )
