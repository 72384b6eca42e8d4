"""Threads of XLA's pool on a CPU: environment steps per second of PPO.

  python -m benchmarks.threads [--threads=3,4,8] [--arms=s5,gru]

The quickstart's training with one seed on each core, in a process of its own
for every size of the pool, which XLA reads from NPROC at its start. The sizes
take turns; the best of the runs is printed. `seeds.split_cpu` sets one thread
more than there are cores.
"""

import argparse
import os
import subprocess
import sys
import time

import jax

from configs.icrl import quickstart
from jaxseq.rl import rl_arms
from jaxseq.rl.agents import ppo
from jaxseq.training import configuration
from jaxseq.training.devices import seeds

UPDATES = 10


def _measure(arm):
  """Prints the steps per second of all seeds together."""
  seeds.split_cpu()
  num_seeds = jax.local_device_count()
  config = configuration.from_config_dict(
    rl_arms.Config, quickstart.get_config()
  )
  config = rl_arms.agent_config(config, arm)
  keys = jax.random.split(jax.random.key(0), num_seeds)
  runners = seeds.jit(
    lambda key: ppo.init(config, key), num_seeds, one_by_one=True
  )(keys)
  train = seeds.jit(
    lambda runner: ppo.train(config, runner, UPDATES)[0], num_seeds
  )
  jax.block_until_ready(train(runners))
  start = time.perf_counter()
  jax.block_until_ready(train(runners))
  seconds = time.perf_counter() - start
  print(UPDATES * num_seeds * config.steps_per_update / seconds)


def main():
  parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
  parser.add_argument("--threads", default="3,4,8")
  parser.add_argument("--arms", default="s5,gru")
  parser.add_argument("--repeats", type=int, default=3)
  parser.add_argument("--measure", help=argparse.SUPPRESS)
  flags = parser.parse_args()
  if flags.measure:
    _measure(flags.measure)
    return
  sizes = flags.threads.split(",")
  print(f"{seeds.num_cores()} cores")
  print(f"{'environment steps/s':<20}" + "".join(f"{n:>9}" for n in sizes))
  for arm in flags.arms.split(","):
    best = dict.fromkeys(sizes, 0.0)
    for _ in range(flags.repeats):
      for size in sizes:
        found = subprocess.run(
          [sys.executable, "-m", "benchmarks.threads", f"--measure={arm}"],
          env={**os.environ, "NPROC": size},
          stdout=subprocess.PIPE,
          text=True,
          check=True,
        )
        best[size] = max(best[size], float(found.stdout))
    row = "".join(f"{best[size]:9,.0f}" for size in sizes)
    print(f"{arm:<20}{row}", flush=True)


if __name__ == "__main__":
  main()
