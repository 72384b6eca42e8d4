"""What the configs of the synthetic tasks share."""

from collections.abc import Sequence

import ml_collections

from configs import supervised


def base(
  variant: str,
  variants: Sequence[str],
  task: str,
  norm: str = "layer",
  **options: object,
) -> ml_collections.ConfigDict:
  """Returns a comparison of small networks on a task.

  Args:
    variant: what is asked for.
    variants: what there is.
    task: name of the task.
    norm: of the networks.
    **options: of the task.
  """
  config = supervised.base(
    variant, variants, task=task, task_options=dict(options)
  )
  config.network = {"stack": {"d_model": 64, "num_layers": 2, "norm": norm}}
  config.optimizer = supervised.adamw(2e-3, warmup_steps=100)
  return config


def tiny(
  config: ml_collections.ConfigDict,
  options: dict[str, object],
  longer: dict[str, object],
) -> ml_collections.ConfigDict:
  """Shrinks a config to seconds: it learns nothing.

  Args:
    config: what is shrunk.
    options: of the task.
    longer: those that differ in the test that follows.
  """
  config.task_options.update(options)
  config.test_options = {"longer": longer}
  return supervised.tiny(config, test_batches=1, further_batches=1)
