"""Shared parts of the comparisons of all mixers."""

from configs import blocks
from configs import supervised
from configs import variants
from jaxseq import mixers
from jaxseq.programs import compare
from jaxseq.training import configuration


def of(task: str, **changes: object) -> compare.Config:
  """Returns the comparison of all mixers on a data set of `jaxseq.data`.

  Args:
    task: name of the data set.
    **changes: fields with other values.
  """
  config = compare.Config(
    kind="classify",
    task=task,
    num_updates=4000,
    updates_per_chunk=100,
    chunks_per_evaluation=5,
    batch_size=64,
    budget=50_000,
    network={"stack": {"num_layers": 2, "norm": "layer"}, "pooling": "mean"},
    optimizer=supervised.adamw(3e-3, 0.05, warmup_steps=100),
    arms=blocks.arms(*mixers.names()),
  )
  return configuration.updated(config, **changes)


def with_tiny(
  config: compare.Config, **options: object
) -> variants.Variants[compare.Config]:
  """Returns a comparison and its test run, with options of the data set."""
  return variants.Variants(
    full=config,
    tiny=supervised.tiny(
      config, "gru", "lstm", budget=None, task_options=options
    ),
  )
