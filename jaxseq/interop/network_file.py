"""Networks of `jaxseq.nn` in one file each: options and variables.

    network_file.save("network.safetensors", network, variables)
    network, variables = network_file.load("network.safetensors")
    y, states = network.apply(variables, x)

For what does not come out of an experiment, and the networks of made signals:
other experiments leave models, which know their data, too (`jaxseq.models`).
"""

import dataclasses
import os
from typing import Any

from jaxseq import _validate
from jaxseq import nn
from jaxseq._types import PyTree
from jaxseq.interop import described_file
from jaxseq.training import configuration
from jaxseq.training import run_directory

FORMAT = 1

_NETWORKS = {
  "SequenceNetwork": nn.SequenceNetwork,
  "SequenceModel": nn.SequenceModel,
}
# Fields of Linen modules that say nothing of what they compute, and options of
# the devices that they were on.
_WITHOUT = ("parent", "name", "time_axis", "time_scheme", "kernels")


def save(
  path: str | os.PathLike,
  network: nn.SequenceNetwork | nn.SequenceModel,
  variables: PyTree,
) -> None:
  """Writes a network to a file, which is replaced if it is there.

  Args:
    path: the file.
    network: the Linen module.
    variables: its variables.

  Raises:
    ValueError: if it is of another class.
    OSError: if the file cannot be written.
  """
  name = type(network).__name__
  if _NETWORKS.get(name) is not type(network):
    raise _validate.error("network", name, " or ".join(_NETWORKS))
  described = {
    "format": FORMAT,
    "network": name,
    "fields": {
      field.name: described_file.encode(
        getattr(network, field.name), field.name, _WITHOUT
      )
      for field in dataclasses.fields(network)
      if field.name not in _WITHOUT
    },
    "versions": run_directory.versions(),
  }
  described_file.write(path, described, variables)


def load(
  path: str | os.PathLike,
) -> tuple[nn.SequenceNetwork | nn.SequenceModel, PyTree]:
  """Reads a network that `save` wrote.

  Args:
    path: the file.

  Returns:
    The Linen module and its variables, as NumPy arrays.

  Raises:
    ValueError: if the file is none of these, is damaged, or has a later format.
    FileNotFoundError: if there is no such file.
  """
  found = described_file.read(path, "network", "network_file.save", FORMAT)
  try:
    described_file.check_fields(
      found.described, ("format", "network", "fields", "versions")
    )
    return _decode(found), found.tree
  except ValueError as error:
    raise ValueError(f"{path} is no whole network: {error}") from error


def _decode(found: described_file.Found) -> Any:
  """Makes the module."""
  name, fields = found.described["network"], found.described["fields"]
  _validate.choice("network", name, tuple(_NETWORKS))
  if not isinstance(fields, dict) or set(fields) & set(_WITHOUT):
    raise _validate.error("fields", fields, "fields of a network")
  described_file.check_sizes(fields, found.tensors)
  return configuration.from_config_dict(
    _NETWORKS[name], described_file.decode(fields), name="fields"
  )
