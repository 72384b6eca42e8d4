"""Steps of whole plans on eight virtual devices, measured and predicted.

  python -m benchmarks.mixed_lengths --measure_devices

The devices share the machine's cores, so that the time of a step is the work of
all of them together and tells nothing of who waits for whom: what is measured
is CPU seconds of the process, and what is predicted is their sum,

  step_overhead + waves wave_overhead + sum over rows and their devices of
    row_overhead + token_seconds chunk + square_seconds chunk^2 (degree + 1) / 2
      + exchange_seconds (degree - 1) [chunk, for attention]

where a device's chunk is padded, products of blocks that lie in the future are
skipped, and a device receives the states, or keys and values, of all others of
its group. The coefficients are fitted, by least squares of the relative errors,
to steps whose rows are all alike, one document each; the plans are not fitted.
"""

import time

import jax
import numpy as np
from scipy import optimize
from scipy import stats

from benchmarks import document_lengths
from benchmarks import mixed_lengths_measured as measured
from benchmarks import timing
from jaxseq import planner
from jaxseq.planner import baselines
from jaxseq.planner import mixed_lengths
from jaxseq.planner import rows
from jaxseq.planner import schedule

DEVICES = 8
CAPACITY = 256
LIMIT = DEVICES * CAPACITY
# Documents of the batches that are planned.
DOCUMENTS = (48, 24)
# Rows, the tokens of a device, and devices of a row, of the steps that are
# fitted.
FITTED = (
  *((8, size, 1) for size in (32, 64, 128, 256)),
  *((count, 128, 1) for count in (3, 16, 24)),
  *((4, size, 2) for size in (32, 128)),
  *((2, size, 4) for size in (64, 128)),
  *((1, size, 8) for size in (32, 128, 256)),
)


def terms(kind: str, batch: rows.Batch) -> np.ndarray:
  """What a step does, of all devices together.

  Args:
    kind: "attention" or "recurrent".
    batch: a plan's arrays.

  Returns:
    (6,): 1, waves, devices with a row, their tokens with padding, their
    products of a query and a key, and the states, or keys, that they receive.
  """
  total = np.array([1.0, len(batch.waves), 0.0, 0.0, 0.0, 0.0])
  for key, active in zip(batch.keys, batch.active):
    degree, chunk = key.sp_degree, key.row_length // key.sp_degree
    squares, received = 0, degree - 1
    if kind == "attention":
      squares, received = chunk**2 * (degree + 1) / 2, received * chunk
    each = np.array([1, chunk, squares, received])
    total[2:] += active.sum() * degree * each
  return total


def rows_alike(count: int, chunk: int, degree: int) -> rows.Batch:
  """Returns the arrays of so many rows of one document each."""
  groups = DEVICES // degree
  each = [
    planner.Row((i,), (0,), degree, i % groups * degree, 0.0)
    for i in range(count)
  ]
  plan = schedule.Assignment(each, np.ones(DEVICES), 1, 1, "", 0)
  documents = [np.arange(chunk * degree) % measured.VOCABULARY] * count
  return rows.lay_out(plan, documents, [chunk], uniform=True)


def fit(kind: str, batches: list[rows.Batch], seconds: np.ndarray):
  """Returns the coefficients of `terms`; none is negative."""
  columns = np.stack([terms(kind, batch) for batch in batches])
  scale = np.maximum(columns.max(axis=0), 1)
  found, _ = optimize.nnls(
    columns / scale / seconds[:, None], np.ones_like(seconds)
  )
  return found / scale


def make_plans(kind: str, coefficients, lengths):
  """Returns plans of one batch by name, and what their rows are padded to."""
  _, _, row, token, square, _ = coefficients
  model = planner.CostModel(
    kind,
    token_seconds=max(float(token), 1e-12),
    square_seconds=float(square) if kind == "attention" else 0.0,
    row_overhead=float(row),
    # Links that are slow enough for groups of several sizes to pay.
    latency=2e-3,
  )
  arguments = lengths, DEVICES, model, float(CAPACITY)
  full, fine = (rows.chunk_sizes(CAPACITY, levels) for levels in (1, 3))
  return {
    "plan, 3 chunk sizes": (planner.plan(*arguments), fine),
    "plan, 1 chunk size": (planner.plan(*arguments), full),
    "packing, 3": (baselines.by_tokens(*arguments), fine),
    "all on 8 devices, 1": (baselines.static(*arguments, degree=8), full),
    "alone, 3": (measured.alone(lengths, DEVICES, CAPACITY), fine),
    "alone, 1": (measured.alone(lengths, DEVICES, CAPACITY), full),
  }


def measure(step, params, batches, repeats=3) -> np.ndarray:
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
    batches = [rows_alike(*sizes) for sizes in FITTED]
    coefficients = fit(kind, batches, measure(step, params, batches))
    print(
      f"\n{name}: {1e3 * coefficients[0]:.1f} ms per step, "
      f"{1e3 * coefficients[1]:.1f} per wave, "
      f"{1e3 * coefficients[2]:.1f} per row, "
      f"{1e9 * coefficients[3]:.0f} ns per token, "
      f"{1e12 * coefficients[4]:.0f} ps per squared token, "
      f"{1e6 * coefficients[5]:.2f} us per exchange"
    )
    plans = {}
    for seed, count in enumerate(DOCUMENTS):
      rng = np.random.default_rng(seed)
      batch = document_lengths.github_like(rng, count, LIMIT)
      documents = [np.arange(n) % measured.VOCABULARY for n in batch]
      for label, (plan, chunks) in make_plans(
        kind, coefficients, batch
      ).items():
        plans[f"{count} documents: {label}"] = rows.lay_out(
          plan, documents, chunks, uniform=True
        )
    found = measure(step, params, list(plans.values()))
    predicted = np.array(
      [terms(kind, each) @ coefficients for each in plans.values()]
    )
    for (label, each), actual, expected in zip(plans.items(), found, predicted):
      degrees = sorted({key.sp_degree for key in each.keys})
      print(
        f"  {label:34}{len(each.waves):>3} waves, degrees {degrees!s:13}"
        f"{1e3 * actual:>8.0f} ms measured{1e3 * expected:>8.0f} ms predicted"
        f"{expected / actual - 1:>+8.1%}"
      )
    errors = np.abs(predicted / found - 1)
    # Batches differ more than the plans of one do.
    within = [
      stats.spearmanr(one, other).statistic
      for one, other in zip(
        np.split(found, len(DOCUMENTS)), np.split(predicted, len(DOCUMENTS))
      )
    ]
    print(
      f"  median error {np.median(errors):.1%}, largest {errors.max():.1%}; "
      f"correlation {np.corrcoef(found, predicted)[0, 1]:.3f}, of ranks within "
      f"a batch {', '.join(f'{each:.2f}' for each in within)}",
      flush=True,
    )
