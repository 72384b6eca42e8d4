"""Trained policies in one file each: configuration and variables.

    policies.save("agent.safetensors", config, runner.variables)
    config, variables = policies.load("agent.safetensors")
    scores = evaluate.evaluate(config, variables, key)

The files are safetensors with JSON in their header; nothing of them is
executed.
"""

import os
from typing import Any
from typing import NamedTuple

from jaxseq import _validate
from jaxseq._types import PyTree
from jaxseq.interop import described_file
from jaxseq.rl import algorithms
from jaxseq.rl import normalization
from jaxseq.training import configuration
from jaxseq.training import run_directory

FORMAT = 1


class Trained(NamedTuple):
  """A trained policy.

  Attributes:
    config: of the algorithm that has trained it; `algorithms.of(config)` is the
      algorithm, whose `player(config)` has the environment and the network.
    variables: the network's, as NumPy arrays.
  """

  config: Any
  variables: PyTree


def save(path: str | os.PathLike, config: Any, variables: PyTree) -> None:
  """Writes a policy to a file, which is replaced if it is there.

  Args:
    path: the file.
    config: of the algorithm, such as `ppo.Config`.
    variables: of one seed, such as `runner.variables`.

  Raises:
    TypeError: if the configuration is no algorithm's.
    ValueError: if it holds what JSON cannot.
    OSError: if the file cannot be written.
  """
  algorithm = algorithms.of(config)
  found = [n for n in algorithms.names() if algorithms.get(n) is algorithm]
  described = {
    "format": FORMAT,
    "algorithm": found[0],
    "config": described_file.encode(config, "config"),
    "versions": run_directory.versions(),
  }
  variables = dict(variables)
  if normalization.COLLECTION in variables:
    statistics = variables[normalization.COLLECTION]
    variables[normalization.COLLECTION] = statistics._asdict()
  described_file.write(path, described, variables)


def load(path: str | os.PathLike) -> Trained:
  """Reads a policy that `save` wrote.

  Its environment is made when it is played: an id of your own has to be
  registered until then.

  Args:
    path: the file.

  Raises:
    ValueError: if the file is none of these, is damaged, has a later format, or
      is of an algorithm that is not registered.
    FileNotFoundError: if there is no such file.
  """
  found = described_file.read(path, "policy", "policies.save", FORMAT)
  described = found.described
  try:
    described_file.check_fields(
      described, ("format", "algorithm", "config", "versions")
    )
    _validate.choice("algorithm", described["algorithm"], algorithms.names())
    fields = described_file.decode(described["config"])
    if not isinstance(fields, dict):
      raise _validate.error("config", fields, "an object")
    described_file.check_sizes(fields.get("network"), found.tensors)
    cls = algorithms.get(described["algorithm"]).Config
    config = configuration.from_config_dict(cls, fields)
    variables = found.tree
    if normalization.COLLECTION in variables:
      statistics = variables[normalization.COLLECTION]
      described_file.check_fields(statistics, normalization.Statistics._fields)
      variables[normalization.COLLECTION] = normalization.Statistics(
        **statistics
      )
    return Trained(config, variables)
  except ValueError as error:
    raise ValueError(f"{path} is no whole policy: {error}") from error
