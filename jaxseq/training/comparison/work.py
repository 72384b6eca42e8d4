"""The work of a program: arms to train, and how they are shown and saved."""

from collections.abc import Callable
from collections.abc import Mapping
import dataclasses
import pathlib
from typing import Any

import jax

from jaxseq.training.comparison import arms as arms_
from jaxseq.training.comparison import run
from jaxseq.types import PyTree


def seed_of(variables: PyTree, seed: int) -> PyTree:
  """Returns the variables of one seed."""
  return jax.tree.map(lambda x: x[seed], variables)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Work:
  """The arms of a comparison, and how they are shown and saved.

  Attributes:
    arms: by name.
    options: of `report.finish`: title and columns, and what it has besides.
    kind: of the models that are saved, see `models.kinds`; "" where the
      networks alone are, None where nothing is.
    splits: what arms are trained on, perhaps by arm; the models have their
      preparation.
    select: from the variables of all seeds and the number of one to those of
      the network.
    begin: (directory, mode), called before anything is trained or measured.
    save: (directory, arm's name, variables of a seed, where they come from) ->
      a file of another form than a model's.
    each: (directory, name, step, state, report), called for every arm that is
      measured, see `run.train`.
    show: (directory, results), what follows the table.
  """

  arms: Mapping[str, arms_.Arm]
  options: Mapping[str, Any]
  kind: str | None = None
  splits: Any = None
  select: Callable[[PyTree, int], PyTree] = seed_of
  save: Callable[[pathlib.Path, str, PyTree, dict[str, Any]], None] | None = (
    None
  )
  begin: Callable[[pathlib.Path, str], None] = lambda directory, mode: None
  each: Callable[..., None] = lambda *measured: None
  show: Callable[[pathlib.Path, run.Results], None] = (
    lambda directory, results: None
  )
