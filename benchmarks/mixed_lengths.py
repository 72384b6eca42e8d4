"""What planning is worth on documents of mixed lengths.

  python -m benchmarks.mixed_lengths                  # the simulated table
  python -m benchmarks.mixed_lengths --sweep          # links and states
  python -m benchmarks.mixed_lengths --judge          # against HiGHS
  python -m benchmarks.mixed_lengths --measure        # the cost model, measured
  python -m benchmarks.mixed_lengths --measure_devices  # steps of 8 devices

All but the last two are simulations with the constants of `planner.gpt_7b`: no
device is used. `static` has one degree for all documents, the one that the
longest allowed needs; `packing` gives each document its smallest degree and
balances tokens; `stream` cuts everything over all devices.
"""

import argparse
import dataclasses
import os
import time
from typing import NamedTuple

import numpy as np

from benchmarks import document_lengths
from benchmarks import flexsp
from jaxseq import planner
from jaxseq.planner import baselines
from jaxseq.planner import planning
from jaxseq.planner import workload

CAPACITY = 8192  # tokens per device
# Documents and longest document at each number of devices.
SIZES = {8: (128, 2**16), 64: (512, 2**18), 512: (4096, 2**20)}


class Cell(NamedTuple):
  """One setting: means over draws and, except of the last two, their errors.

  Attributes:
    static: time of the static mesh over the plan's, (mean, standard error).
    packing: the same of packing.
    stream: the same of the stream; NaN for attention.
    bound: the plan's time over the lower bound, the largest of the draws.
    milliseconds: CPU time of planning, the median.
  """

  static: tuple[float, float]
  packing: tuple[float, float]
  stream: tuple[float, float]
  bound: float
  milliseconds: float


def draw(distribution, cost_model, num_devices, seed):
  """Returns the lengths of a batch, and the bytes of a device's memory."""
  documents, limit = SIZES[num_devices]
  memory = cost_model.fixed_bytes + CAPACITY * cost_model.bytes_per_token
  rng = np.random.default_rng(seed)
  return document_lengths.SAMPLERS[distribution](rng, documents, limit), memory


def simulate(distribution, cost_model, num_devices, draws) -> Cell:
  """Plans several batches and compares with the baselines.

  Args:
    distribution: name of a sampler.
    cost_model: seconds and bytes.
    num_devices: one of SIZES.
    draws: number of batches, at least 2.

  Returns:
    The means.
  """
  ratios, gaps, seconds = [], [], []
  degree = SIZES[num_devices][1] // CAPACITY
  for seed in range(draws):
    batch, memory = draw(distribution, cost_model, num_devices, seed)
    arguments = batch, num_devices, cost_model, memory
    start = time.process_time()
    plan = planner.plan(*arguments)
    seconds.append(time.process_time() - start)
    static = baselines.static(*arguments, degree=degree).makespan
    packing = baselines.by_tokens(*arguments).makespan
    stream = np.nan
    if cost_model.kind == "recurrent":
      stream = planner.plan(*arguments, method="stream").makespan
    ratios.append(np.array([static, packing, stream]) / plan.makespan)
    gaps.append(1 + plan.optimal_gap)
  means = np.mean(ratios, axis=0).tolist()
  errors = (np.std(ratios, axis=0, ddof=1) / draws**0.5).tolist()
  return Cell(*zip(means, errors), max(gaps), 1e3 * float(np.median(seconds)))


def print_table(flags):
  """The simulated table."""
  print("means, their standard errors in brackets; plan/LB2: the largest")
  print(
    f"{'':24}{'devices':>8}{'draws':>7}{'static/plan':>15}"
    f"{'packing/plan':>15}{'stream/plan':>15}{'plan/LB2':>10}{'ms':>6}"
  )
  for distribution in flags.distributions:
    for kind in ("attention", "recurrent"):
      for n in flags.devices:
        draws = max(2, flags.draws // 4) if n == 512 else flags.draws
        cell = simulate(distribution, planner.gpt_7b(kind, n), n, draws)
        ratios = "".join(
          f"{'-' if np.isnan(mean) else f'{mean:.2f} ({error:.2f})':>15}"
          for mean, error in cell[:3]
        )
        print(
          f"{distribution + ', ' + kind:24}{n:>8}{draws:>7}{ratios}"
          f"{cell.bound:>10.3f}{cell.milliseconds:>6.0f}",
          flush=True,
        )


def with_links(cost_model, factor: float, state_bytes: float):
  """Returns a cost model with other links and another state.

  Args:
    cost_model: the cost model.
    factor: all bandwidths are multiplied by this.
    state_bytes: bytes of a layer's state.

  Returns:
    The cost model.
  """
  return dataclasses.replace(
    cost_model,
    bandwidths=tuple(factor * v for v in cost_model.bandwidths),
    state_bytes=state_bytes,
  )


def print_sweep(flags):
  """Recurrent mixers: the stream against other plans, over links and states."""
  factors = (0.25, 0.5, 1, 2, 4, 8, 16)
  states = (1e4, 3e4, 1e5, 3e5, 1e6, 3e6)
  print("stream / LPT, in brackets stream / best plan of any other kind")
  for distribution in flags.distributions:
    for n in flags.devices:
      head = "".join(f"{f'{factor:g}x':>16}" for factor in factors)
      print(f"\n{f'{distribution}, {n} devices':28}{head}")
      for state in states:
        texts = []
        for factor in factors:
          model = with_links(planner.gpt_7b("recurrent", n), factor, state)
          over_lpt, over_best = stream_over_others(distribution, model, n)
          texts.append(f"{over_lpt:.4f} ({over_best:.3f})")
        line = "".join(f"{text:>16}" for text in texts)
        print(f"{f'state {state / 1e6:g} MB':28}{line}", flush=True)
  print("\nbelow 1: the stream is better")


def stream_over_others(distribution, cost_model, num_devices, draws=3):
  """Returns the stream's time over LPT's, and over the best other plan's."""
  ratios = []
  for seed in range(draws):
    batch, memory = draw(distribution, cost_model, num_devices, seed)
    problem = workload.make_workload(batch, num_devices, cost_model, memory)
    plans = planning.propose(problem, workload.lower_bound(problem))
    times = {plan.method: plan.makespan for plan in plans}
    stream = times.pop("stream")
    ratios.append([stream / times["lpt"], stream / min(times.values())])
  return np.mean(ratios, axis=0).tolist()


def print_judgement(flags):
  """LPT against HiGHS: our form and FlexSP's, first draw."""
  print(f"limits: blocks {flags.limit:g} s, FlexSP {1.6 * flags.limit:g} s")
  print(f"{'':38}{'LPT':>9}{'blocks':>9}{'s':>7}{'FlexSP':>9}{'s':>7}")
  for n in (n for n in flags.devices if n <= 64):
    for distribution in flags.distributions:
      for kind in ("attention", "recurrent"):
        model = planner.gpt_7b(kind, n)
        batch, memory = draw(distribution, model, n, 0)
        arguments = batch, n, model, memory
        lpt = planner.plan(*arguments)
        start = time.perf_counter()
        milp = planner.plan(*arguments, method="milp", time_limit=flags.limit)
        middle = time.perf_counter()
        other = flexsp.plan(*arguments, time_limit=1.6 * flags.limit)
        end = time.perf_counter()
        gap = np.nan if other is None else other.optimal_gap
        name = f"{distribution}, {kind}, {n} devices"
        print(
          f"{name:38}{lpt.optimal_gap:>9.2%}{milp.optimal_gap:>9.2%}"
          f"{middle - start:>7.1f}{gap:>9.2%}{end - middle:>7.1f}",
          flush=True,
        )
  print("percent above the lower bound; blocks keeps LPT's plan if better")


def main():
  parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
  parser.add_argument("--devices", type=int, nargs="+", default=[8, 64, 512])
  parser.add_argument(
    "--distributions", nargs="+", default=list(document_lengths.SAMPLERS)
  )
  parser.add_argument("--draws", type=int, default=20)
  parser.add_argument("--sweep", action="store_true")
  parser.add_argument("--judge", action="store_true")
  parser.add_argument("--limit", type=float, default=5.0, help="seconds")
  parser.add_argument("--measure", action="store_true")
  parser.add_argument("--measure_devices", action="store_true")
  flags = parser.parse_args()
  if flags.sweep:
    print_sweep(flags)
  if flags.judge:
    print_judgement(flags)
  if flags.measure:
    # The only parts that need jax.
    from benchmarks import mixed_lengths_measured

    mixed_lengths_measured.main()
  if flags.measure_devices:
    # Read by jax when it is first imported.
    os.environ.setdefault("JAX_NUM_CPU_DEVICES", "8")
    os.environ.setdefault("JAX_PLATFORMS", "cpu")
    from benchmarks import mixed_lengths_devices

    mixed_lengths_devices.main()
  others = (flags.sweep, flags.judge, flags.measure, flags.measure_devices)
  if not any(others):
    print_table(flags)


if __name__ == "__main__":
  main()
