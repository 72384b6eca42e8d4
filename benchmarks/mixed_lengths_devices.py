"""Steps of whole plans on eight virtual devices, measured and predicted.

  python -m benchmarks.mixed_lengths --measure_devices

The devices share the machine's cores, so that the time of a step is the work of
all of them together and tells nothing of who waits for whom: what is measured
is CPU seconds of the process, and what is predicted is their sum,

  step_overhead + waves wave_overhead + sum over rows and their devices of
    row_overhead + token_seconds chunk + square_seconds chunk^2 (degree + 1) / 2

where a device's chunk is padded, and the products of blocks that lie in the
future are skipped. The coefficients are fitted, by least squares of the
relative errors, to steps whose rows all have degree 1, in the same program;
plans with groups of two to eight devices are not fitted. The exchange, of one
process with itself, is in what is measured and not in what is predicted.
"""

import time

import jax
import numpy as np
from scipy import optimize
from scipy import stats

from benchmarks import mixed_lengths_measured as measured
from benchmarks import timing
from jaxseq import planner
from jaxseq.planner import baselines
from jaxseq.planner import lengths as lengths_lib
from jaxseq.planner import rows
from jaxseq.planner import schedule
from jaxseq.training import mixed_lengths

DEVICES = 8
CAPACITY = 256
LIMIT = DEVICES * CAPACITY
DOCUMENTS = 48
# Rows of degree 1 and their tokens, of the steps that are fitted.
FITTED = (
  *((8, size) for size in (32, 64, 128, 192, 256)),
  *((count, 128) for count in (3, 12, 16, 24)),
  (16, 256),
)


def terms(batch: rows.Batch) -> np.ndarray:
  """What a step does, of all devices together.

  Args:
    batch: a plan's arrays.

  Returns:
    (5,): 1, waves, devices with a row, their tokens with padding, and their
    products of a query and a key.
  """
  total = np.array([1.0, len(batch.waves), 0.0, 0.0, 0.0])
  for key, active in zip(batch.keys, batch.active):
    degree, chunk = key.sp_degree, key.row_length // key.sp_degree
    squares = chunk**2 * (degree + 1) / 2
    total[2:] += active.sum() * degree * np.array([1, chunk, squares])
  return total


def rows_of_one(count: int, tokens: int) -> rows.Batch:
  """Returns the arrays of so many rows of one document each, on one device."""
  each = [planner.Row((i,), (0,), 1, i % DEVICES, 0.0) for i in range(count)]
  plan = schedule.Assignment(each, np.ones(DEVICES), 1, 1, "", 0)
  documents = [np.arange(tokens) % measured.VOCABULARY] * count
  return rows.lay_out(plan, documents, [tokens], uniform=True)


def fit(kind: str, batches: list[rows.Batch], seconds: np.ndarray):
  """Returns the coefficients of `terms`; none is negative."""
  columns = np.stack([terms(batch) for batch in batches])
  if kind == "recurrent":
    columns[:, 4] = 0
  scale = np.maximum(columns.max(axis=0), 1)
  found, _ = optimize.nnls(
    columns / scale / seconds[:, None], np.ones_like(seconds)
  )
  return found / scale


def make_plans(kind: str, coefficients, lengths):
  """Returns plans of one batch by name, and what their rows are padded to."""
  _, _, row, token, square = coefficients
  model = planner.CostModel(
    kind,
    token_seconds=max(float(token), 1e-12),
    square_seconds=float(square) if kind == "attention" else 0.0,
    row_overhead=float(row),
  )
  arguments = lengths, DEVICES, model, float(CAPACITY)
  full, fine = (rows.chunk_sizes(CAPACITY, levels) for levels in (1, 3))
  plans = {
    "plan, 3 chunk sizes": (planner.plan(*arguments), fine),
    "plan, 1 chunk size": (planner.plan(*arguments), full),
    "packing, 3": (baselines.packing(*arguments), fine),
    "all on 8 devices, 3": (baselines.static(*arguments, degree=8), fine),
    "alone, 3": (measured.alone(lengths, DEVICES, CAPACITY), fine),
    "alone, 1": (measured.alone(lengths, DEVICES, CAPACITY), full),
  }
  if kind == "recurrent":
    stream = planner.plan(*arguments, method="stream")
    plans["stream, 1"] = (stream, full)
  return plans


def measure(step, params, batches, repeats=5) -> np.ndarray:
  """CPU seconds of the steps, each the least of several turns."""
  seconds = np.full((repeats + 1, len(batches)), np.inf)
  for turn in range(repeats + 1):
    for number, batch in enumerate(batches):
      start = time.process_time()
      jax.block_until_ready(step(params, batch))
      # The first turn compiles.
      if turn:
        seconds[turn, number] = time.process_time() - start
  return seconds.min(axis=0)


def main():
  print(
    f"{timing.machine()}, {jax.device_count()} devices; one layer, "
    f"d_model={measured.WIDTH}, float32"
  )
  for kind, name in measured.MIXERS.items():
    loss, params = measured.make_loss(kind)
    devices = jax.devices()[:DEVICES]
    step = mixed_lengths.make_loss_and_grad(loss, devices)
    batches = [rows_of_one(*sizes) for sizes in FITTED]
    coefficients = fit(kind, batches, measure(step, params, batches))
    print(
      f"\n{name}: {1e3 * coefficients[0]:.1f} ms per step, "
      f"{1e3 * coefficients[1]:.1f} per wave, "
      f"{1e3 * coefficients[2]:.1f} per row, "
      f"{1e9 * coefficients[3]:.0f} ns per token, "
      f"{1e12 * coefficients[4]:.0f} ps per squared token"
    )
    batch = lengths_lib.wiki(np.random.default_rng(0), DOCUMENTS, LIMIT)
    documents = [np.arange(n) % measured.VOCABULARY for n in batch]
    plans = make_plans(kind, coefficients, batch)
    laid = [
      rows.lay_out(plan, documents, chunks, uniform=True)
      for plan, chunks in plans.values()
    ]
    found = measure(step, params, laid)
    predicted = np.array([terms(each) @ coefficients for each in laid])
    for label, each, actual, expected in zip(plans, laid, found, predicted):
      degrees = sorted({key.sp_degree for key in each.keys})
      print(
        f"  {label:22}{len(each.waves):>4} waves, degrees {degrees!s:14}"
        f"{1e3 * actual:>9.1f} ms measured{1e3 * expected:>9.1f} ms predicted"
        f"{expected / actual - 1:>+8.1%}"
      )
    print(
      f"  correlation {np.corrcoef(found, predicted)[0, 1]:.3f}, of ranks "
      f"{stats.spearmanr(found, predicted).statistic:.2f}",
      flush=True,
    )
