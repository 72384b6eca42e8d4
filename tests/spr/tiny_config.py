"""One arm and one seed of the quick config's tiny variant."""

from configs.spr import minatar_quick
from jaxseq.training import configuration


def get_config():
  return configuration.updated(
    minatar_quick.TINY, arms={"spr": {}}, num_seeds=1, keep_checkpoints=9
  )
