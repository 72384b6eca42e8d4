"""What it costs to look for numbers that are not finite.

  python -m benchmarks.finite [--repeats=20]

CPU milliseconds of a chunk of updates with `on_nonfinite` "ignore", and the
others over that: PPO with a GRU (configs/icrl/quickstart.py) and a supervised
run (configs/classify/digits.py), one seed each. The three take turns; the best
of the runs is printed.
"""

import argparse
import dataclasses
import time

import jax

from benchmarks import timing
from configs.classify import digits
from configs.icrl import quickstart
from jaxseq.programs import classify
from jaxseq.rl import rl_arms
from jaxseq.training import configuration

_ARM = "gru"
_ACTIONS = ("ignore", "stop", "skip")


def _ppo():
  config = configuration.from_config_dict(
    rl_arms.Config, quickstart.get_config(), name="config"
  )
  return config, rl_arms.make_arms


def _supervised():
  config = configuration.from_config_dict(
    classify.Config, digits.get_config(), name="config"
  )
  splits = config.load()
  return config, lambda changed: classify.TASK.arms(changed, splits)


def _seconds(chunk, state, count):
  """Returns the CPU seconds of a chunk, and the state after it."""
  start = time.process_time()
  state, metrics = chunk(state, count)
  jax.block_until_ready((state, metrics))
  return time.process_time() - start, state


def main():
  parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
  parser.add_argument("--repeats", type=int, default=20)
  flags = parser.parse_args()
  print(timing.machine())
  print(f"{'':<12}{'CPU ms':>8}{'stop':>8}{'skip':>8}")
  for name, make in {"ppo": _ppo, "supervised": _supervised}.items():
    config, make_arms = make()
    runs = []
    for action in _ACTIONS:
      changed = dataclasses.replace(config, num_seeds=1, on_nonfinite=action)
      program = make_arms(changed)[_ARM].program(changed)
      runs.append([program.chunk, program.init()])
    best = [float("inf")] * len(runs)
    # The first turn compiles.
    for turn in range(flags.repeats + 1):
      for i, (chunk, state) in enumerate(runs):
        seconds, runs[i][1] = _seconds(chunk, state, config.updates_per_chunk)
        if turn:
          best[i] = min(best[i], seconds)
    stop, skip = (seconds / best[0] for seconds in best[1:])
    print(f"{name:<12}{1e3 * best[0]:>8.1f}{stop:>8.3f}{skip:>8.3f}")


if __name__ == "__main__":
  main()
