"""What the configs of classification share."""

from collections.abc import Sequence

import ml_collections

from configs import blocks
from configs import supervised


def base(
  variant: str, variants: Sequence[str], data: str, **options: object
) -> ml_collections.ConfigDict:
  """Returns the classification of a data set by small networks.

  Args:
    variant: what is asked for.
    variants: what there is.
    data: name of the data set.
    **options: of its loader.
  """
  config = supervised.base(
    variant, variants, num_updates=4000, updates_per_chunk=100, batch_size=64
  )
  config.chunks_per_evaluation = 5
  config.data, config.data_options = data, dict(options)
  config.network = {"stack": {"d_model": 64, "num_layers": 2}}
  config.network.pooling = "mean"
  config.optimizer = supervised.adamw(3e-3, 0.01, warmup_steps=100)
  s5 = blocks.bare("s5", mixer_options={"ssm_size": 64})
  config.arms = s5 | blocks.arms("gru", "mamba")
  return config


def s5_paper(
  ssm_size: int, blocks: int, **options: object
) -> dict[str, object]:
  """Returns the mixer of an S5 arm with the paper's common options."""
  return {
    "mixer": "s5",
    "mixer_options": {
      "ssm_size": ssm_size,
      "blocks": blocks,
      "bidirectional": True,
      **options,
    },
  }
