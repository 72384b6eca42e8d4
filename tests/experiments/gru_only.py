"""The tiny quickstart with one arm, for tests that run it several times."""

from configs.icrl import quickstart
from jaxseq.training import configuration


def get_config():
  return configuration.updated(
    quickstart.TINY,
    arms={"gru": quickstart.TINY.arms["gru"]},
    chunks_per_checkpoint=1,
    updates_per_chunk=1,
    agent={"total_steps": 12 * 256},
  )
