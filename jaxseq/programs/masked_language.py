"""Masked language models, from random variables or those of another model."""

from collections.abc import Callable
import dataclasses
from typing import Any

from jaxseq.models import model_file
from jaxseq.tasks import masked_language
from jaxseq.tasks import task
from jaxseq.training import supervised

Config = masked_language.Config


def variables_of(path: str) -> Any:
  """Returns the variables of a masked language model; None without a path.

  Raises:
    ValueError: if the file is not such a model.
    FileNotFoundError: if there is no such file.
  """
  if not path:
    return None
  return model_file.load_kind("encoder", path, "masked_language").variables


def with_encoders(
  line: task.Task, problem: Callable[..., supervised.Problem]
) -> task.Task:
  """Returns a task whose arms read the variables of their `encoder`.

  Args:
    line: the task.
    problem: (arm, splits, variables) -> problem.
  """
  return dataclasses.replace(
    line,
    problem=lambda arm, splits, config: problem(
      arm, splits, variables_of(arm.encoder)
    ),
  )


TASK = with_encoders(masked_language.TASK, masked_language.Problem)
