"""Self-describing files of arrays: safetensors with JSON in a header.

    header     {"__metadata__": {"jaxseq": JSON}, ...}
    tensors    variables, by their paths: "params/encoder/kernel"

The JSON ends with the SHA-256 of itself and of all tensors. Reading a file
executes nothing of it: it contains only numbers, strings and lists. Each kind
of file is a `Kind`, by name in `KINDS`; `load` reads a file of any kind.
"""

from collections.abc import Callable
from collections.abc import Collection
from collections.abc import Iterable
from collections.abc import Iterator
from collections.abc import Mapping
import functools
import hashlib
import json
import math
import os
import pathlib
from typing import Any
from typing import NamedTuple
from typing import TypeVar

from flax import traverse_util
import numpy as np

from jaxseq import _codec
from jaxseq import _json
from jaxseq import _registry
from jaxseq import recurrence
from jaxseq import validate
from jaxseq.interop import safetensors_file
from jaxseq.training import configuration
from jaxseq.training import integrity
from jaxseq.training import run_directory
from jaxseq.types import Network
from jaxseq.types import PyTree

T = TypeVar("T")

KEY, DIGEST = "jaxseq", "sha256"
# Format of the header; other formats cannot be read.
FORMAT = 1
# Maximum of sizes that no tensor needs to have, such as windows.
_FREE_SIZE = 1024
_FREE = ("window", "chunk_size", "horizon", "length")
LARGEST = 2**24
# Maximum number of names in a path to a tensor.
_DEPTH = 64
# Fields of every kind.
_COMMON = ("format", "versions")


class Contents(NamedTuple):
  """The contents of a file.

  Attributes:
    described: the JSON, without the digest.
    tensors: arrays by their paths; `tree` nests them.
    digest: SHA-256 of both.
  """

  described: dict[str, Any]
  tensors: dict[str, np.ndarray]
  digest: str

  @property
  def tree(self) -> PyTree:
    """The arrays as nested dictionaries."""
    return traverse_util.unflatten_dict(self.tensors, sep="/")


class Kind(NamedTuple):
  """A kind of file.

  Attributes:
    name: name of the contents in messages, such as "model".
    writer: name of the function that writes such a file.
    fields: fields of its JSON, besides "format" and "versions".
    decode: converts the contents to the loaded object.
    optional: further fields, which older files lack.
  """

  name: str
  writer: str
  fields: tuple[str, ...]
  decode: Callable[[Contents], Any]
  optional: tuple[str, ...] = ()


KINDS = _registry.Registry(
  "kind of file",
  {
    "initial_states": "jaxseq.adapt.initial_states:KIND",
    "model": "jaxseq.models.model_file:KIND",
    "network": "jaxseq.interop.network_file:KIND",
    "player": "jaxseq.rl.conditioned_players:KIND",
    "policy": "jaxseq.rl.policies:KIND",
    "quantized": "jaxseq.adapt.quantized:KIND",
    "row_predictors": "jaxseq.interop.row_predictors:KIND",
    "streamed": "jaxseq.interop.streamed:KIND",
  },
)


def load(
  path: str | os.PathLike, kind: Kind | None = None, *, finite: bool = True
) -> Any:
  """Loads the object in a file.

  Args:
    path: the file.
    kind: the required kind; any of `KINDS` if None.
    finite: whether to reject weights that are not finite, which runs with
      `--on_nonfinite=ignore` may write.

  Returns:
    A `jaxseq.Model`; a policy, see `rl.policies.Trained`; a player, see
    `rl.conditioned_players.Player`; or a network and its variables.

  Raises:
    ValueError: if the file is of no such kind, is damaged, or has another
      format.
    FileNotFoundError: if there is no such file.
  """
  return decode(path, read(path, kind), kind, finite=finite)


def decode(
  path: str | os.PathLike,
  contents: Contents,
  kind: Kind | None,
  *,
  finite: bool = True,
) -> Any:
  """Returns the object of a file's contents, see `load`."""
  described = contents.described
  if kind and not {*kind.fields} <= {*described}:
    for other in KINDS.values():
      if {*other.fields} <= {*described}:
        reader = other.writer.replace("save", "load")
        said = f"is a {other.name} and no {kind.name}: open it by {reader}"
        raise ValueError(f"{path} {said}.")
  name = "model" if kind is None else kind.name
  try:
    match = kind or _kind_of(described)
    name = match.name
    _check_fields(described, match)
    if finite:
      _check_finite(contents.tensors)
    return match.decode(contents)
  except _registry.NotRegistered as error:
    raise _registry.NotRegistered(f"{path}: {error}") from error
  except ValueError as error:
    raise ValueError(f"{path} is no whole {name}: {error}") from error


def save(
  path: str | os.PathLike,
  kind: Kind,
  described: Mapping[str, Any],
  variables: PyTree,
) -> None:
  """Writes a file of a kind, replacing an existing one atomically.

  Args:
    path: the file.
    kind: its kind.
    described: the fields, as JSON values; "versions" are the current ones
      unless given.
    variables: nested dictionaries of arrays.

  Raises:
    OSError: if the file cannot be written.
  """
  header = {"format": FORMAT, "versions": run_directory.versions(), **described}
  _check_fields(header, kind)
  write(path, header, variables)


def check_arrays(flat: Mapping[str, Any]) -> None:
  """Checks that the parameters to save are arrays.

  Args:
    flat: parameters by path.

  Raises:
    ValueError: if one has adapters, or is in 8 bits.
  """
  for path, leaf in flat.items():
    if isinstance(leaf, recurrence.Weight):
      adapted = isinstance(leaf, recurrence.LowRank | recurrence.LowRankRows)
      remedy = (
        "Merge adapters by adapt.lora.merge, or write them alone by "
        "adapt.peft_file.write"
        if adapted
        else "Write weights in 8 bits by adapt.quantized.save"
      )
      got = type(leaf).__name__
      wrong = validate.error(f"variables: {path}", got, "an array")
      raise ValueError(f"{wrong} {remedy}.")


def write(
  path: str | os.PathLike, described: Mapping[str, Any], variables: PyTree
) -> None:
  """Writes a file of any fields, replacing an existing one atomically.

  Args:
    path: the file.
    described: JSON values with finite numbers; see `_codec.encode`.
    variables: nested dictionaries of arrays.

  Raises:
    ValueError: see `check_arrays`.
    OSError: if the file cannot be written.
  """
  flat = traverse_util.flatten_dict(variables, sep="/")
  check_arrays(flat)
  tensors = {name: np.asarray(x) for name, x in flat.items()}
  metadata = to_metadata(described, leaf_digests(tensors))
  safetensors_file.write(pathlib.Path(path), tensors, metadata)


def to_metadata(
  described: Mapping[str, Any], digests: Mapping[str, str]
) -> dict[str, str]:
  """Returns the header of a file, from the digests of its tensors."""
  whole = {**described, DIGEST: _digest(described, digests)}
  # One entry: the package writes several in arbitrary order.
  return {KEY: _canonical(whole)}


def read(path: str | os.PathLike, kind: Kind | None = None) -> Contents:
  """Reads a file written by `write`.

  Args:
    path: the file.
    kind: the expected kind, for messages; a model if None.

  Raises:
    ValueError: if the file is of no such kind, is damaged, or has another
      format.
    FileNotFoundError: if there is no such file.
  """
  tensors, metadata = safetensors_file.read_all(path)
  digests = functools.partial(leaf_digests, tensors)
  return from_metadata(path, metadata, tensors, digests, kind)


def from_metadata(
  path: str | os.PathLike,
  metadata: Mapping[str, str],
  tensors: dict[str, Any],
  digests: Callable[[], Mapping[str, str]] | None,
  kind: Kind | None,
) -> Contents:
  """Returns the contents of a file from its header.

  Args:
    path: the file.
    metadata: its header.
    tensors: its arrays, or objects with their shapes.
    digests: returns the digests of these; None for no check.
    kind: see `read`, also for errors.
  """
  name, writer = (kind.name, kind.writer) if kind else ("model", "jaxseq.save")
  if KEY not in metadata:
    raise ValueError(
      f"{path} holds tensors and no {name} of jaxseq: expected a file that "
      f"{writer} wrote."
    )
  try:
    described = _json.loads(metadata[KEY])
    if not isinstance(described, dict):
      raise ValueError("the header holds no object")
    _check_format(described)
    stated = described.pop(DIGEST, None)
    if digests is not None and stated != _digest(described, digests()):
      raise ValueError("its SHA-256 differs from what it says: it was altered")
    _check_paths(tensors)
  except ValueError as error:
    raise ValueError(f"{path} is no whole {name}: {error}") from error
  return Contents(described, tensors, stated)


def _check_format(described):
  """Checks the version of the format, before all else."""
  number = described.get("format")
  if type(number) is not int or number < 1:
    raise validate.error("format", number, f"a number up to {FORMAT}")
  if number != FORMAT:
    age = "a later" if number > FORMAT else "an earlier"
    version = described.get("versions")
    version = version.get("jaxseq") if isinstance(version, dict) else None
    # Without characters that could control a terminal.
    version = repr(str(version)[:80])[1:-1]
    raise ValueError(
      f"it has format {number}, of {age} version of jaxseq ({version}), and "
      f"this one reads format {FORMAT}: use the version that wrote it"
    )


def _check_paths(tensors):
  """Rejects names of tensors that cannot be nested dictionaries."""
  for name in tensors:
    words = name.split("/")
    if len(words) > _DEPTH:
      raise validate.error("tensors", name[:80], f"names of {_DEPTH} parts")
    for i in range(1, len(words)):
      above = "/".join(words[:i])
      if above in tensors:
        expected = f"none below {above!r}, which is a tensor"
        raise validate.error("tensors", name[:80], expected)


def _check_finite(tensors):
  """Rejects tensors with numbers that are not finite."""
  for name, tensor in tensors.items():
    if not safetensors_file.is_finite(tensor):
      raise ValueError(
        f"{name[:80]}: got numbers that are not finite, as a run that diverged "
        "leaves them; jaxseq.load(path, finite=False) reads them."
      )


def _kind_of(described):
  """Returns the kind with the largest share of its fields in the JSON."""
  kinds = [KINDS.get(name) for name in KINDS.names()]
  shares = [
    sum(name in described for name in kind.fields) / len(kind.fields)
    for kind in kinds
  ]
  if not max(shares):
    listed = "; ".join(", ".join(kind.fields) for kind in kinds)
    raise validate.error("fields", sorted(described), f"one of: {listed}")
  return kinds[shares.index(max(shares))]


def _check_fields(described, kind):
  """Checks that the JSON has exactly the fields of a kind."""
  check_names(described, (*_COMMON, *kind.fields), kind.optional)


def check_names(
  mapping: Iterable[str],
  needed: Collection[str],
  optional: Collection[str] = (),
) -> None:
  """Checks that all needed field names are present, and no unknown ones.

  Raises:
    ValueError: if one is missing or unknown.
  """
  wrong = set(needed) - set(mapping) | set(mapping) - {*needed, *optional}
  if wrong:
    raise validate.error(
      "fields", sorted(wrong), ", ".join((*needed, *optional))
    )


def build(cls: type[T], fields: Any, name: str, base: T | None = None) -> T:
  """Builds a dataclass or module from its JSON, see `_codec.encode`.

  Args:
    cls: the class, whose annotations are the types of the fields.
    fields: the JSON, from an untrusted source.
    name: name of the object in messages.
    base: object with the values of missing fields, instead of the defaults.

  Raises:
    ValueError: if a field is wrong, with its name.
  """
  validate.instance(name, fields, dict, "an object")
  for field in _codec.OF_MODULES:
    if field in fields and hasattr(cls, "parent"):
      raise validate.error(name, field, "fields of a network")
  fields = _codec.decode(fields)
  return configuration.from_config_dict(cls, fields, name=name, base=base)


def make_network(cls: type, fields: Any, contents: Contents, name: str) -> Any:
  """Builds a network from its fields, with sizes bounded by the tensors.

  Args:
    cls: class of the module or of its options.
    fields: the JSON.
    contents: contents of the file.
    name: name of the fields in messages.

  Raises:
    ValueError: if a field is wrong, with its name.
  """
  check_sizes(fields, contents.tensors)
  return build(cls, fields, name)


def check_sizes(network: Network, tensors: Mapping[str, np.ndarray]) -> None:
  """Rejects sizes that are too large for the tensors.

  Args:
    network: the JSON of a network.
    tensors: tensors of the file.

  Raises:
    ValueError: if a size is too large, or an epsilon is negative or not finite.
  """
  largest = largest_size(tensors)
  for name, value in _leaves(network):
    if name == "num_layers":
      layers = max(len(tensors), largest)
      validate.integer(f"network: {name}", value, 0, layers)
    elif type(value) is int:
      free = any(word in name for word in _FREE)
      most = LARGEST if free else max(largest, _FREE_SIZE)
      validate.integer(f"network: {name}", value, -most, most)
    if "epsilon" in name and isinstance(value, int | float):
      if not (math.isfinite(value) and value >= 0):
        expected = "a finite number of at least 0"
        raise validate.error(f"network: {name}", value, expected)


def largest_size(tensors: Mapping[str, np.ndarray]) -> int:
  """Returns the largest size of an axis of the tensors; 0 without tensors."""
  return max((max(x.shape, default=0) for x in tensors.values()), default=0)


def _leaves(value, name="") -> Iterator[tuple[str, Any]]:
  """Yields the values of nested objects and lists, with the nearest name."""
  if isinstance(value, dict):
    if set(value) == {"float"}:
      yield name, _codec.decode(value)
      return
    for key, item in value.items():
      yield from _leaves(item, key)
  elif isinstance(value, list):
    # Options are pairs of name and value.
    pair = len(value) == 2 and isinstance(value[0], str)
    for item in value[1:] if pair else value:
      yield from _leaves(item, value[0] if pair else name)
  else:
    yield name, value


def digest(
  described: Mapping[str, Any], tensors: Mapping[str, np.ndarray]
) -> str:
  """Returns the SHA-256 of the JSON and of all tensors."""
  return _digest(described, leaf_digests(tensors))


def leaf_digests(tensors: Mapping[str, np.ndarray]) -> dict[str, str]:
  """Returns the digests of tensors by name, see `integrity.leaf_digest`."""
  return {name: integrity.leaf_digest(x) for name, x in tensors.items()}


def _digest(described, digests):
  """The SHA-256 of the JSON and of the tensors' digests."""
  whole = hashlib.sha256(_canonical(described).encode())
  for name in sorted(digests):
    whole.update(f"{name}:{digests[name]}".encode())
  return whole.hexdigest()


def _canonical(described):
  """Returns JSON that is the same for equal values."""
  return json.dumps(described, sort_keys=True, allow_nan=False)
