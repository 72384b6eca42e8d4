"""Files of `jaxseq.nn` networks: options and variables.

    network_file.save("network.safetensors", network, variables)
    network, variables = network_file.load("network.safetensors")
    y, states = network.apply(variables, x)

For networks that do not come from an experiment, and networks of generated
signals: other experiments save models, which also know their data
(`jaxseq.models`).
"""

import os
from typing import Any

from jaxseq import _codec
from jaxseq import nn
from jaxseq import validate
from jaxseq.interop import described_file
from jaxseq.types import PyTree

_NETWORKS = {
  "SequenceNetwork": nn.SequenceNetwork,
  "SequenceModel": nn.SequenceModel,
}

Network = nn.SequenceNetwork | nn.SequenceModel


def save(path: str | os.PathLike, network: Network, variables: PyTree) -> None:
  """Writes a network to a file, replacing an existing one.

  Args:
    path: the file.
    network: the Linen module.
    variables: its variables.

  Raises:
    ValueError: if the network is of another class.
    OSError: if the file cannot be written.
  """
  described_file.save(path, KIND, describe(network), variables)


def describe(network: Network) -> dict[str, Any]:
  """Returns the class and the fields of a network, as JSON values.

  Raises:
    ValueError: if the network is of another class.
  """
  name = type(network).__name__
  if _NETWORKS.get(name) is not type(network):
    raise validate.error("network", name, " or ".join(_NETWORKS))
  fields = _codec.encode(network, "network", _codec.OF_DEVICES)
  return {"network": name, "fields": fields}


def load(path: str | os.PathLike) -> tuple[Network, PyTree]:
  """Reads a network written by `save`.

  Args:
    path: the file.

  Returns:
    The Linen module and its variables, as NumPy arrays.

  Raises:
    ValueError: if the file is not a network, is damaged, or has a later format.
    FileNotFoundError: if there is no such file.
  """
  return described_file.load(path, KIND)


def _decode(contents):
  """Returns the module and its variables."""
  return build(contents.described, contents), contents.tree


def build(described: Any, contents: described_file.Contents) -> Network:
  """Builds a network from the result of `describe`.

  Args:
    described: the result, from an untrusted file.
    contents: contents of the file, whose tensors bound the network's sizes.

  Raises:
    ValueError: if a field is wrong, with its name.
  """
  validate.instance("network", described, dict, "an object")
  name = described.get("network")
  cls = _NETWORKS[validate.choice("network", name, tuple(_NETWORKS))]
  fields = described.get("fields")
  return described_file.make_network(cls, fields, contents, "fields")


KIND = described_file.Kind(
  "network", "network_file.save", ("network", "fields"), _decode
)
