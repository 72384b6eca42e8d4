"""Shared parts of the configs of synthetic tasks."""

from configs import supervised
from experiments.synthetic import task as synthetic


def base(
  task: str,
  options: dict[str, object],
  norm: str = "layer",
  optimizer: dict[str, object] | None = None,
  **fields: object,
) -> synthetic.Config:
  """Returns a comparison of small networks on a task.

  Args:
    task: name of the task.
    options: options of the task.
    norm: norm of the networks.
    optimizer: optimizer fields with other values.
    **fields: other fields of the config.
  """
  adamw = supervised.adamw(2e-3, warmup_steps=100)
  return synthetic.Config(
    task=task,
    task_options=options,
    network={"stack": {"d_model": 64, "num_layers": 2, "norm": norm}},
    optimizer={**adamw, **(optimizer or {})},
    **fields,
  )


def tiny(
  config: synthetic.Config,
  options: dict[str, object],
  longer: dict[str, object],
  **changes: object,
) -> synthetic.Config:
  """Shrinks a config to a test run of seconds.

  Args:
    config: the config to shrink.
    options: options of the task.
    longer: options that differ in the additional test.
    **changes: other fields to change.
  """
  return supervised.tiny(
    config,
    task_options=options,
    test_options={"longer": longer},
    test_batches=1,
    further_batches=1,
    **changes,
  )
