"""Plans of updates on documents: devices, groups and arrays."""

from collections.abc import Mapping
from collections.abc import Sequence
import dataclasses
from typing import Any
from typing import Literal
from typing import NamedTuple

import jax
import numpy as np

from jaxseq import nn
from jaxseq import planner
from jaxseq import validate
from jaxseq.planner import baselines
from jaxseq.planner import planned
from jaxseq.planner import rows
from jaxseq.tasks.language.token_rows import Documents as Documents
from jaxseq.training import configuration

# Fields of the cost model that follow from the network and the options.
_DERIVED = ("kind", "bytes_per_token", "fixed_bytes", "chunks")
_OF_ATTENTION = ("square_seconds", "exchange_bytes")


@dataclasses.dataclass(frozen=True)
class PlanConfig:
  """Options of planned updates; losses do not depend on them up to rounding.

  Attributes:
    method: "lpt" and "stream": see `planner.plan`; as baselines "packing",
      `baselines.by_tokens`, and "static", the same degree for all documents,
      the smallest that holds the longest one.
    tokens_per_device: number of elements that fit in a device's memory; 0 for
      the longest document divided by four devices, or by all if there are
      fewer.
    levels: number of chunk sizes to pad rows to, each half of the previous one.
    uniform: whether all groups of a wave have the same size, see
      `planner.rows`.
    costs: fields of `planner.CostModel`, except those that follow from the
      network and the fields above. `square_seconds` and `exchange_bytes` are
      only for arms with attention; by default the first is computed from the
      width.
  """

  method: Literal["lpt", "stream", "packing", "static"] = "lpt"
  tokens_per_device: int = 0
  levels: int = 3
  uniform: bool = True
  costs: Mapping[str, Any] = configuration.EMPTY

  def __post_init__(self):
    validate.literals(self)
    validate.integer("tokens_per_device", self.tokens_per_device, 0)
    validate.integer("levels", self.levels, 1, planned.MAX_LEVELS)
    names = {f.name for f in dataclasses.fields(planner.CostModel)}
    for name in self.costs:
      validate.choice("costs", name, sorted(names - set(_DERIVED)))


class Planner(NamedTuple):
  """Plans an update and builds its arrays.

  Attributes:
    config: options.
    cost_model: seconds, in any unit.
    chunks: possible array sizes per device, in ascending order.
    num_devices: number of devices of all processes.
    local: numbers of the devices of this process, in their order.
  """

  config: PlanConfig
  cost_model: planner.CostModel
  chunks: tuple[int, ...]
  num_devices: int
  local: tuple[int, ...]

  def plan(self, lengths: Sequence[int]) -> planner.Assignment:
    """Returns the plan of documents of these lengths."""
    memory = float(self.chunks[-1])
    arguments = lengths, self.num_devices, self.cost_model, memory
    if self.config.method == "packing":
      return baselines.by_tokens(*arguments)
    if self.config.method == "static":
      degree = 1
      while degree * self.chunks[-1] < max(lengths):
        degree *= 2
      return baselines.static(*arguments, degree=degree)
    return planner.plan(*arguments, method=self.config.method)

  def lay_out(
    self, documents: Documents, chosen: Sequence[int]
  ) -> planned.Step:
    """Plans documents and builds the arrays.

    Reads only documents of this process's devices; the others are zeros, which
    are not sent to any device.

    Args:
      documents: all documents.
      chosen: indices of the documents of this update.

    Returns:
      The arrays, the programs that read them, and the gap of the plan.
    """
    lengths = documents.lengths[np.asarray(chosen)]
    plan = self.plan(lengths)
    mine = set()
    for row in plan.rows:
      devices = range(row.first_device, row.first_device + row.degree)
      if not set(devices).isdisjoint(self.local):
        mine.update(row.doc_ids)
    tokens = [
      documents.read(index)
      if place in mine
      else np.broadcast_to(np.int32(0), lengths[place])
      for place, index in enumerate(chosen)
    ]
    batch = rows.lay_out(plan, tokens, self.chunks, uniform=self.config.uniform)
    return planned.Step(
      batch,
      [
        (
          key.sp_degree,
          self.chunks[::-1].index(key.row_length // key.sp_degree),
        )
        for key in batch.keys
      ],
      plan.optimal_gap,
    )


def make_planner(
  config: PlanConfig,
  network: nn.NetworkConfig,
  max_length: int,
  devices: Sequence[jax.Device],
) -> Planner:
  """Returns the planner of a network's updates.

  Args:
    config: options.
    network: the network; its mixers determine the exchange.
    max_length: elements of the longest document.
    devices: the devices that share the work.

  Raises:
    ValueError: if the number of devices is not a power of two, or too small for
      the longest document, or the network cannot be planned.
  """
  count = len(devices)
  if count & (count - 1):
    expected = "a power of two, as groups are halved"
    raise validate.error("devices", count, expected)
  stack = network.stack
  for name, value, free, reason in (
    ("pooling", network.pooling, "none", "every token is a target"),
    ("stack.time_axis", stack.time_axis, "", "the planner splits time"),
    ("stack.time_scheme", stack.time_scheme, "", "the planner splits time"),
  ):
    if value != free:
      raise validate.error(f"network.{name}", value, f"{free!r}: {reason}")
  stack.refuse(
    "network.stack",
    batch_norm="its statistics would depend on the plan",
    dropout="losses must not depend on the plan",
    bidirectional="the next token is predicted",
  )
  capacity = config.tokens_per_device or -(-max_length // min(count, 4))
  if capacity * count < max_length:
    raise validate.error(
      "tokens_per_device",
      capacity,
      f"{-(-max_length // count)} or more, so that {count} devices hold a "
      f"document of {max_length}",
    )
  recurrent = "attention" not in stack.mixer_names
  chunks = rows.chunk_sizes(capacity, config.levels)
  costs = {"token_seconds": 1.0, **config.costs}
  if recurrent:
    # Arms share the costs; recurrent ones ignore attention's.
    costs = {k: v for k, v in costs.items() if k not in _OF_ATTENTION}
  elif "square_seconds" not in costs:
    # Scores and averages cost 2 d operations per visible pair of elements, the
    # matrices of a layer 24 d^2 per element.
    costs["square_seconds"] = costs["token_seconds"] / (12 * stack.d_model)
  model = planner.CostModel(
    "recurrent" if recurrent else "attention", chunks=chunks, **costs
  )
  if config.method == "stream" and not recurrent:
    raise validate.error("plan.method", "stream", "one that attention can use")
  process = jax.process_index()
  local = [i for i, d in enumerate(devices) if d.process_index == process]
  return Planner(config, model, chunks, count, tuple(local))
