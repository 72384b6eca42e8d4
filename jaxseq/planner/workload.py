"""The workload that every way of planning starts from: documents and devices.

Documents are sorted by falling length, so that a plan depends on the order of
its input only through the numbers of equally long documents.
"""

from collections.abc import Sequence
import math
from typing import NamedTuple

import numpy as np

from jaxseq import validate
from jaxseq.planner import costs


class Workload(NamedTuple):
  """Documents by falling length, and the cost of each on each group size.

  Attributes:
    lengths: (documents,) int64, falling.
    order: (documents,) int64, the caller's number of each document.
    num_devices: a power of two.
    capacity: tokens that one device has memory for.
    degrees: (sizes,) int64, 1, 2, 4, ..., num_devices.
    times: (documents, sizes) seconds of a document alone in a row of that
      degree; inf if it does not fit.
    shares: (documents, sizes) device-seconds of a document if its row is full,
      so that it pays for its part of the row's cost; inf if it does not fit.
    cost_model: the cost model.
  """

  lengths: np.ndarray
  order: np.ndarray
  num_devices: int
  capacity: int
  degrees: np.ndarray
  times: np.ndarray
  shares: np.ndarray
  cost_model: costs.CostModel


def make_workload(
  lengths: Sequence[int],
  num_devices: int,
  cost_model: costs.CostModel,
  memory_per_device: float,
) -> Workload:
  """Sorts the documents and computes their costs.

  Arguments and errors are those of `planner.plan`; `lengths` are at least 1.
  """
  lengths = np.asarray(lengths)
  if lengths.ndim != 1 or not len(lengths):
    got = f"shape {lengths.shape}"
    raise validate.error("lengths", got, "(documents,), at least one")
  if not np.issubdtype(lengths.dtype, np.integer):
    raise validate.error("lengths", f"dtype {lengths.dtype}", "integers")
  lengths = lengths.astype(np.int64)
  if lengths.min() < 1:
    place = int(lengths.argmin())
    got = int(lengths[place])
    raise validate.error(f"lengths[{place}]", got, "at least 1")
  if num_devices < 1 or num_devices & (num_devices - 1):
    raise validate.error("num_devices", num_devices, "a power of two")
  capacity = _tokens_per_device(cost_model, memory_per_device)
  if lengths.max() > capacity * num_devices:
    place = int(lengths.argmax())
    most = f"at most {num_devices} * {capacity} tokens"
    expected = f"{most}, the memory of all devices"
    raise validate.error(f"lengths[{place}]", int(lengths[place]), expected)
  order = np.argsort(-lengths, kind="stable")
  lengths = lengths[order]
  degrees = 2 ** np.arange(num_devices.bit_length(), dtype=np.int64)
  fixed = np.array([cost_model.fixed_comm(d) for d in degrees.tolist()])
  fixed += cost_model.row_overhead
  per_token = np.array([cost_model.token_comm(d) for d in degrees.tolist()])
  tokens = lengths[:, None].astype(float)
  flowing = cost_model.work(tokens) / degrees + per_token * tokens
  feasible = tokens <= capacity * degrees
  padding = cost_model.padded(tokens, degrees) - tokens
  padding = padding * (cost_model.token_seconds / degrees + per_token)
  times = np.where(feasible, flowing + padding + fixed, np.inf)
  # A row of degree d has at most capacity * d tokens, and holds d devices. Of
  # its padding nobody knows before it is packed.
  shares = flowing * degrees + tokens / capacity * fixed
  shares = np.where(feasible, shares, np.inf)
  return Workload(
    lengths, order, num_devices, capacity, degrees, times, shares, cost_model
  )


def _tokens_per_device(
  cost_model: costs.CostModel, memory_per_device: float
) -> int:
  """Returns how many tokens' activations fit beside the fixed bytes."""
  if not math.isfinite(memory_per_device):
    expected = "a finite number of bytes"
    raise validate.error("memory_per_device", memory_per_device, expected)
  free = memory_per_device - cost_model.fixed_bytes
  # The small number is for a memory computed as a whole number of tokens.
  capacity = int(free / cost_model.bytes_per_token * (1 + 1e-12))
  if free <= 0 or capacity < 1:
    room = f"room for a token of {cost_model.bytes_per_token:.6g} bytes"
    expected = f"{room} beside {cost_model.fixed_bytes:.6g} fixed bytes"
    raise validate.error("memory_per_device", memory_per_device, expected)
  return capacity


def simple_bound(problem: Workload) -> float:
  """LB1, seconds: all work spread evenly, or the longest document at best.

  A document of degree d holds d devices for its computing and its exchange.
  What a row costs beside that is counted by the tokens the document takes of a
  full row, since rows may be shared; a document's own row lasts at least as
  long as the document alone.
  """
  spread = problem.shares.min(axis=1).sum() / problem.num_devices
  return float(max(spread, problem.times.min(axis=1).max()))


def lower_bound(problem: Workload, iterations: int = 60) -> float:
  """LB2, seconds: the smallest T at which the work that T leaves fits into T.

    sum_k min {shares_kd : times_kd <= T} / num_devices <= T

  A step of T seconds needs a degree of at most T seconds for each document, and
  a small T asks for high degrees, which waste more. The sum falls as T grows.
  At least LB1: the lower end of what so many halvings leave.
  """

  def wasted(limit):
    shares = np.where(problem.times <= limit, problem.shares, np.inf)
    return shares.min(axis=1).sum() / problem.num_devices > limit

  low = simple_bound(problem)
  if not wasted(low):
    return low
  high = max(float(problem.times.min(axis=1).max()), low)
  while wasted(high):
    high *= 2
  for _ in range(iterations):
    middle = (low + high) / 2
    low, high = (middle, high) if wasted(middle) else (low, middle)
  return low
