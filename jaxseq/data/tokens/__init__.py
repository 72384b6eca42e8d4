"""Tasks sampled on the device: pure functions of a key.

`TASKS` maps a name to the task's configuration and sampler:

  task = TASKS["mqar"]
  config = task.config(length=128, pairs=8)
  batch = jax.jit(task.sample, static_argnums=(1, 2))(key, config, 64)

A configuration is a frozen dataclass with the properties `time`, `vocab_size`
and `num_classes`, which need no device; the last two are None in the tasks on
signals, which have `features` instead.
"""

from collections.abc import Callable
import dataclasses
from typing import Any
from typing import NamedTuple

from jaxseq.data.tokens import associative_recall
from jaxseq.data.tokens import copying
from jaxseq.data.tokens import group_words
from jaxseq.data.tokens import induction
from jaxseq.data.tokens import mqar
from jaxseq.data.tokens import regular
from jaxseq.data.tokens import signal_tasks
from jaxseq.data.tokens import strings
from jaxseq.data.tokens.sampling import TokenBatch


class Task(NamedTuple):
  """A task.

  Attributes:
    config: class of its options.
    sample: function (key, config, batch_size) -> TokenBatch; config and
      batch_size are static under `jit`.
  """

  config: type
  sample: Callable[..., TokenBatch]


TASKS = {
  "adding": Task(signal_tasks.AddingConfig, signal_tasks.sample_adding),
  "associative_recall": Task(
    associative_recall.Config, associative_recall.sample
  ),
  "binary_addition": Task(
    strings.BinaryAdditionConfig, strings.sample_binary_addition
  ),
  "bucket_sort": Task(strings.BucketSortConfig, strings.sample_bucket_sort),
  "copying": Task(copying.Config, copying.sample),
  "cycle_navigation": Task(
    regular.CycleNavigationConfig, regular.sample_cycle_navigation
  ),
  "delay": Task(signal_tasks.DelayConfig, signal_tasks.sample_delay),
  "duplicate_string": Task(strings.DuplicateConfig, strings.sample_duplicate),
  "even_pairs": Task(regular.EvenPairsConfig, regular.sample_even_pairs),
  "group_words": Task(group_words.Config, group_words.sample),
  "induction": Task(induction.Config, induction.sample),
  "missing_duplicate": Task(
    strings.MissingDuplicateConfig, strings.sample_missing_duplicate
  ),
  "modular_arithmetic": Task(
    regular.ModularArithmeticConfig, regular.sample_modular_arithmetic
  ),
  "mqar": Task(mqar.Config, mqar.sample),
  "odds_first": Task(strings.OddsFirstConfig, strings.sample_odds_first),
  "parity": Task(regular.ParityConfig, regular.sample_parity),
  "reverse_string": Task(strings.ReverseConfig, strings.sample_reverse),
  "selective_copying": Task(copying.SelectiveConfig, copying.sample),
  "stack_manipulation": Task(strings.StackConfig, strings.sample_stack),
}


def get(name: str) -> Task:
  """Returns a task.

  Args:
    name: one of the names in `TASKS`.

  Returns:
    The task.

  Raises:
    ValueError: if there is no such task.
  """
  if name not in TASKS:
    raise ValueError(
      f"name must be one of the tasks {', '.join(sorted(TASKS))}; got {name!r}."
    )
  return TASKS[name]


def make_config(name: str, **options: Any) -> Any:
  """Makes the configuration of a task from a name and options.

  Args:
    name: one of the names in `TASKS`.
    **options: fields of the task's configuration.

  Returns:
    The configuration.

  Raises:
    ValueError: if there is no such task or option, or a value is out of range.
  """
  kind = get(name).config
  fields = [field.name for field in dataclasses.fields(kind)]
  unknown = sorted(set(options) - set(fields))
  if unknown:
    raise ValueError(
      f"task {name!r} has no option {', '.join(unknown)}; its options are "
      f"{', '.join(fields)}."
    )
  return kind(**options)


__all__ = ["TASKS", "Task", "TokenBatch", "get", "make_config"]
