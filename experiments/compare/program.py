"""All mixers on one data set or sampled task, with equally many parameters."""

import dataclasses
from typing import Literal

from experiments.synthetic import task as synthetic
from jaxseq import validate
from jaxseq.data import tokens
from jaxseq.programs import compare
from jaxseq.training.comparison import experiment
from jaxseq.training.comparison import work as works


@dataclasses.dataclass(frozen=True)
class Config(compare.Config):
  """A comparison of mixers, on a data set or on a task of `jaxseq.data.tokens`.

  Attributes:
    kind: "classify": a data set of `jaxseq.data`; "synthetic": a task of
      `jaxseq.data.tokens`.
  """

  _: dataclasses.KW_ONLY
  kind: Literal["classify", "synthetic"]


def of_tokens(config: Config) -> compare.Compared:
  """Returns a sampled task.

  Raises:
    ValueError: if it is a task on signals.
  """
  options = tokens.make_config(config.task, **config.task_options)
  if options.num_classes is None:
    expected = "a task on tokens, not signals"
    raise validate.error("task", config.task, expected)
  line = dataclasses.replace(
    synthetic.TASK,
    problem=lambda arm, source, config: synthetic.Problem(arm, *source),
  )
  sizes = options.num_classes, options.vocab_size, 1
  return compare.Compared(line, sizes, False, options.time)


def work(config: Config, program: experiment.Experiment) -> works.Work:
  """Returns every arm, with its width fitted to the budget."""
  del program
  of = {"classify": compare.of_data, "synthetic": of_tokens}[config.kind]
  return compare.work_on(config, of(config))
