"""Configurations of runs that started with earlier defaults."""

from collections.abc import Mapping
import pathlib
from typing import Any

from absl import logging

from jaxseq import _json
from jaxseq import limits
from jaxseq.training import run_directory

# Fields whose defaults for people's own files have changed.
_CHANGED = (
  *("early_stopping", "chunks_per_evaluation", "network"),
  *("from_shares", "from_season", "input_length", "period"),
)


def config_of(directory: pathlib.Path) -> Mapping[str, Any]:
  """Returns the fields of the run in a directory; {} without a run."""
  file = directory / run_directory.CONFIG_FILE
  try:
    config = _json.loads(limits.read_text(file, limits.JSON))["config"]
  except (OSError, ValueError, KeyError, TypeError):
    return {}
  return config if isinstance(config, Mapping) else {}


def continued(
  before: Mapping[str, object],
  after: Mapping[str, object],
  directory: pathlib.Path,
) -> Mapping[str, Any]:
  """Returns a configuration that resumes the run in a directory.

  Fields that the command line leaves alone, and whose defaults have changed
  since, are those of the run.

  Args:
    before: fields of the config file.
    after: those with what the command line changes.
    directory: of the run, which may not be there.
  """
  saved = config_of(directory)
  if not saved or before.get("early_stopping", 0) is not None:
    return after
  fields = dict(after)
  for name in _CHANGED:
    if name not in before or before[name] != after[name]:
      continue
    if name not in saved:
      del fields[name]
    elif saved[name] != after[name]:
      fields[name] = saved[name]
      logging.warning(
        "The run keeps its %s=%r, an earlier default.", name, saved[name]
      )
  return fields
