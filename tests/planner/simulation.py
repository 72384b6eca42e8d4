"""Runs a plan event by event, without what the planner knows of its shape."""

from collections.abc import Sequence
import heapq
from typing import NamedTuple

import numpy as np

from jaxseq.planner import costs
from jaxseq.planner import schedule


class Simulation(NamedTuple):
  """What happens when the rows of a plan are executed in order.

  Attributes:
    start_times: (rows,) seconds.
    loads: (devices,) seconds until a device has done its last row.
    idle: (devices,) seconds that a device waits for others before that.
    makespan: seconds until the last device has done its last row.
  """

  start_times: np.ndarray
  loads: np.ndarray
  idle: np.ndarray
  makespan: float


def simulate(
  rows: Sequence[schedule.Row],
  lengths: Sequence[int],
  num_devices: int,
  cost_model: costs.CostModel,
) -> Simulation:
  """Executes rows; each device takes its own in the order of the list.

  A row starts when all devices of its group have come to it, and takes the time
  of the cost model. Start times in the rows are not looked at.

  Args:
    rows: rows in the order of execution.
    lengths: (documents,) tokens of each document.
    num_devices: number of devices.
    cost_model: seconds.

  Returns:
    What happened.

  Raises:
    ValueError: if a row names a device that is not there.
  """
  lengths = np.asarray(lengths)
  queues = [[] for _ in range(num_devices)]
  for index, row in enumerate(rows):
    last = row.first_device + row.degree - 1
    if row.first_device < 0 or last >= num_devices:
      raise ValueError(
        f"row {index} runs on devices {row.first_device} to {last}; there are "
        f"{num_devices}."
      )
    for device in range(row.first_device, last + 1):
      queues[device].append(index)
  position = [0] * num_devices
  arrived = [0] * len(rows)
  starts = np.zeros(len(rows))
  loads, busy = np.zeros(num_devices), np.zeros(num_devices)
  # (time, device): the device is ready for its next row.
  events = [(0.0, device) for device in range(num_devices)]
  while events:
    now, device = heapq.heappop(events)
    loads[device] = now
    if position[device] == len(queues[device]):
      continue
    index = queues[device][position[device]]
    row = rows[index]
    arrived[index] += 1
    if arrived[index] < row.degree:
      continue
    starts[index] = now
    seconds = cost_model.time(lengths[list(row.doc_ids)], row.degree)
    for member in range(row.first_device, row.first_device + row.degree):
      position[member] += 1
      busy[member] += seconds
      heapq.heappush(events, (now + seconds, member))
  return Simulation(starts, loads, loads - busy, float(loads.max()))
