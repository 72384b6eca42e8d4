"""Shared parts of the classification configs."""

from configs import blocks
from configs import supervised
from jaxseq.programs import classify
from jaxseq.training import configuration


def base(data: str, **changes: object) -> classify.Config:
  """Returns the classification of a data set by small networks.

  Args:
    data: name of the data set.
    **changes: fields with other values.
  """
  s5 = blocks.bare("s5", mixer_options={"ssm_size": 64})
  config = classify.Config(
    data=data,
    num_updates=4000,
    updates_per_chunk=100,
    chunks_per_evaluation=5,
    batch_size=64,
    network={"stack": {"d_model": 64, "num_layers": 2}, "pooling": "mean"},
    optimizer=supervised.adamw(3e-3, 0.01, warmup_steps=100),
    arms=s5 | blocks.arms("gru", "mamba"),
  )
  return configuration.updated(config, **changes)


def own(data: str, **options: object) -> classify.Config:
  """Returns the classification of the user's data, by loader options."""
  return base(
    data,
    data_options=options,
    num_updates=2000,
    batch_size=16,
    optimizer={"learning_rate": 2e-3},
    early_stopping=None,
    chunks_per_evaluation=1,
  )


def s5_paper(
  ssm_size: int, blocks: int, **options: object
) -> dict[str, object]:
  """Returns the mixer of an S5 arm with the paper's common options."""
  shape = {"ssm_size": ssm_size, "blocks": blocks, "bidirectional": True}
  return {"mixer": "s5", "mixer_options": {**shape, **options}}
