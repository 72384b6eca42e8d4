"""The tiny quickstart with one arm, for tests that run it several times."""

from configs.icrl import quickstart


def get_config():
  config = quickstart.get_config("tiny")
  del config.arms["s5"]
  config.chunks_per_checkpoint = 1
  config.updates_per_chunk = 1
  config.agent.total_steps = 12 * 256
  return config
