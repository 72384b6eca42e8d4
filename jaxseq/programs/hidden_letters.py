"""Masked language models, and pairs of letters by their networks."""

import dataclasses
from typing import Any

from jaxseq.models import model_file
from jaxseq.tasks import masked_language
from jaxseq.tasks import pairs
from jaxseq.tasks import task
from jaxseq.training.comparison import experiment
from jaxseq.training.comparison import work as works

Config = masked_language.Config
_PROBLEMS = {
  "masked": (masked_language.TASK, masked_language.Problem),
  "pairs": (pairs.TASK, pairs.Problem),
}


def variables_of(path: str) -> Any:
  """Returns the variables of a model of masked language; None without a path.

  Raises:
    ValueError: if the file is no such model.
    FileNotFoundError: if there is no such file.
  """
  if not path:
    return None
  return model_file.load_kind("encoder", path, "masked_language").variables


def choose(objective: str) -> task.Task:
  """Returns the line of work of an objective."""
  line, kind = _PROBLEMS[objective]
  return dataclasses.replace(
    line,
    problem=lambda arm, splits, config: kind(
      arm, splits, variables_of(arm.encoder)
    ),
  )


TASK = choose("masked")


def work(config: Config, program: experiment.Experiment) -> works.Work:
  """Returns the arms of the config's objective."""
  del program
  return choose(config.objective).work(config)
