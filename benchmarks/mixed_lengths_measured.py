"""Does the cost model of `jaxseq.planner` hold on this machine?

  python -m benchmarks.mixed_lengths --measure

CPU seconds of a training step (loss and gradient of a small model, one device)
on rows of one document are fitted by least squares of the relative errors:

  seconds = row_overhead + token_seconds s + square_seconds s^2

and checked on lengths that were not fitted. Then five plans of one batch are
run on the one device, device after device of the plan, and their order by
predicted seconds is compared with the measured one. Nothing is exchanged, so
the plans differ in rows and padding only. What a device does of a recurrent row
is a program on its chunk. Attention runs whole rows; the kernel masks what lies
in other documents and computes it all the same, so the squared term is that of
the row. (CPU seconds, since others use the machine too.)
"""

import time

import jax
import jax.numpy as jnp
import numpy as np
from scipy import optimize
from scipy import stats

from benchmarks import document_lengths
from benchmarks import timing
from jaxseq import mixers
from jaxseq import planner
from jaxseq.planner import rows
from jaxseq.planner import schedule

VOCABULARY = 256
WIDTH = 128
FITTED = (128, 256, 512, 768, 1024, 1536, 2048)
HELD_OUT = (192, 384, 640, 896, 1280, 1792)
DEVICES = 4
CAPACITY = 512
LIMIT = 2048
MIXERS = {"attention": "attention", "recurrent": "linear_attention"}


def make_loss(kind):
  """Returns the loss of a wave, perhaps split over devices, and parameters."""
  options = {"window": LIMIT} if kind == "attention" else {}
  config = mixers.make_config(MIXERS[kind], d_model=WIDTH, **options)
  mixer = mixers.module_of(config)
  keys = jax.random.split(jax.random.key(0), 5)
  lecun = jax.nn.initializers.lecun_normal()
  params = {
    "embedding": jax.random.normal(keys[0], (VOCABULARY, WIDTH)),
    "mixer": mixer.init(keys[1], config),
    "up": lecun(keys[2], (WIDTH, 4 * WIDTH)),
    "down": lecun(keys[3], (4 * WIDTH, WIDTH)),
    "output": lecun(keys[4], (WIDTH, VOCABULARY)),
  }

  def loss(params, wave, axis=None):
    x = params["embedding"][wave.tokens]
    split = {} if axis is None else {"axis": axis}
    if split and kind == "attention":
      split["scheme"] = "gather"
    y, _ = mixer.apply(config, params["mixer"], x, None, wave.reset, **split)
    y = x + y
    y += jax.nn.gelu(y @ params["up"]) @ params["down"]
    log_probs = jax.nn.log_softmax(y @ params["output"])
    chosen = jnp.take_along_axis(log_probs, wave.targets[..., None], axis=-1)
    return -jnp.sum(jnp.where(wave.mask, chosen[..., 0], 0))

  return loss, params


def make_step(kind):
  """Returns a jitted step of a wave, and its parameters."""
  loss, params = make_loss(kind)
  return jax.jit(jax.value_and_grad(loss)), params


def one_document(length):
  """Returns a wave of one document."""
  row = planner.Row((0,), (0,), 1, 0, 0.0)
  plan = planner.Assignment([row], np.ones(1), 1.0, 1.0, "", 0.0)
  tokens = np.arange(length) % VOCABULARY
  return rows.lay_out(plan, [tokens], [length], uniform=True).waves[0]


def measure(step, params, lengths, repeats=8):
  """Returns CPU seconds of each length, the least of several turns."""
  pairs = [(step, (params, one_document(length))) for length in lengths]
  return np.array([m.cpu for m in timing.interleaved(pairs, repeats)])


def fit(kind, lengths, seconds):
  """Returns the cost model that fits best; no coefficient is negative."""
  lengths = np.asarray(lengths, float)
  columns = [np.ones_like(lengths), lengths]
  if kind == "attention":
    columns.append(lengths**2)
  # A token costs something, however little.
  low = [0.0, 1e-12, 0.0][: len(columns)]
  found = optimize.lsq_linear(
    np.stack(columns, axis=1) / seconds[:, None],
    np.ones_like(seconds),
    (low, np.inf),
    method="bvls",
    # Scaled, since the columns differ by many orders of magnitude.
    tol=1e-14,
  ).x
  square = float(found[2]) if kind == "attention" else 0.0
  return planner.CostModel(
    kind,
    token_seconds=float(found[1]),
    square_seconds=square,
    row_overhead=float(found[0]),
  )


def alone(lengths, num_devices, capacity=CAPACITY):
  """A plan in which every document has a row of its own."""
  found = []
  for index, length in enumerate(lengths):
    degree = 1
    while degree * capacity < length:
      degree *= 2
    first = index * degree % num_devices
    found.append(planner.Row((index,), (0,), degree, first, 0.0))
  found.sort(key=lambda row: -row.degree)
  return schedule.Assignment(found, np.ones(num_devices), 1, 1, "alone", 0)


def make_plans(cost_model, lengths):
  """Returns five plans, and what their rows are padded to."""
  arguments = lengths, DEVICES, cost_model, float(CAPACITY)
  full, half, fine = (rows.chunk_sizes(CAPACITY, n) for n in (1, 2, 4))
  return {
    "plan, 4 chunk sizes": (planner.plan(*arguments), fine),
    "plan, 1 chunk size": (planner.plan(*arguments), full),
    "every document alone, 4": (alone(lengths, DEVICES), fine),
    "every document alone, 2": (alone(lengths, DEVICES), half),
    "every document alone, 1": (alone(lengths, DEVICES), full),
  }


def programs(kind, plan, documents, chunks):
  """Returns what one device runs of a plan: waves of one row each."""
  waves = []
  for row in plan.rows:
    chosen = [documents[i] for i in row.doc_ids]
    own = row._replace(doc_ids=tuple(range(len(chosen))), first_device=0)
    single = planner.Assignment([own], np.ones(row.degree), 1, 1, "", 0)
    wave = rows.lay_out(single, chosen, chunks, uniform=True).waves[0]
    parts = row.degree if kind == "recurrent" else 1
    pieces = [np.split(array, parts, axis=1) for array in wave]
    waves += [rows.Wave(*piece) for piece in zip(*pieces)]
  return waves


def in_turns(step, params, plans, repeats=4):
  """Returns CPU seconds of every list of waves, the least of several turns."""
  plans = [[jax.device_put(wave) for wave in waves] for waves in plans]
  seconds = np.full((repeats + 1, len(plans)), np.inf)
  for turn in range(repeats + 1):
    for number, waves in enumerate(plans):
      start = time.process_time()
      for wave in waves:
        jax.block_until_ready(step(params, wave))
      # The first turn compiles.
      if turn:
        seconds[turn, number] = time.process_time() - start
  return seconds.min(axis=0)


def main():
  print(timing.machine(), f"; one layer, d_model={WIDTH}, float32", sep="")
  for kind, name in MIXERS.items():
    step, params = make_step(kind)
    lengths = sorted(FITTED + HELD_OUT)
    seconds = dict(zip(lengths, measure(step, params, lengths).tolist()))
    model = fit(kind, FITTED, np.array([seconds[s] for s in FITTED]))
    print(
      f"\n{name}: {1e6 * model.row_overhead:.0f} us per row, "
      f"{1e9 * model.token_seconds:.0f} ns per token, "
      f"{1e12 * model.square_seconds:.0f} ps per squared token"
    )
    errors = []
    for length in lengths:
      predicted = model.time([length], 1)
      error = predicted / seconds[length] - 1
      fitted = length in FITTED
      if not fitted:
        errors.append(abs(error))
      print(
        f"  {length:>6} tokens {1e3 * seconds[length]:>9.2f} ms measured"
        f"{1e3 * predicted:>9.2f} ms {'fitted' if fitted else 'predicted'}"
        f"{error:>+8.1%}"
      )
    print(f"  median error of held-out lengths {np.median(errors):.1%}")
    batch = document_lengths.wiki(np.random.default_rng(0), 32, LIMIT)
    documents = [np.arange(n) % VOCABULARY for n in batch]
    plans = {
      label: programs(kind, plan, documents, chunks)
      for label, (plan, chunks) in make_plans(model, batch).items()
    }
    measured = in_turns(step, params, list(plans.values()))
    predicted = [
      sum(model.time([wave.tokens.size], 1) for wave in waves)
      for waves in plans.values()
    ]
    for label, actual, expected in zip(plans, measured, predicted):
      print(
        f"  {label:26}{len(plans[label]):>4} programs{1e3 * actual:>9.1f} ms "
        f"measured{1e3 * expected:>9.1f} ms predicted"
        f"{expected / actual - 1:>+8.1%}"
      )
    order = stats.spearmanr(measured, predicted).statistic
    print(f"  rank correlation of the five plans {order:.2f}", flush=True)
