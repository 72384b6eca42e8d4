"""Several seeds of DTS on one CPU core: side by side against in turn.

  taskset -c 1 python -m benchmarks.dts_seeds [--seeds=3]

CPU milliseconds per update and seed, all seeds by `vmap` and by `lax.map`, of
the first arm of configs/dts/quick.py, or of another config and arm. The two
take turns; the best of the runs is printed.
"""

import argparse
import functools
import importlib

import jax

from benchmarks import timing
from jaxseq import data
from jaxseq.dts import problem
from jaxseq.programs import dts
from jaxseq.training import configuration
from jaxseq.training import supervised


def main():
  parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
  parser.add_argument("--config", default="quick", help="of configs/dts")
  parser.add_argument("--arm", default="dts_10")
  parser.add_argument("--seeds", type=int, default=3)
  parser.add_argument("--updates", type=int, default=20)
  parser.add_argument("--repeats", type=int, default=3)
  flags = parser.parse_args()
  module = importlib.import_module(f"configs.dts.{flags.config}")
  config = configuration.from_config_dict(
    dts.Config, module.get_config(), name="config"
  )
  arms = dts.arm_configs(config)
  if flags.arm not in arms:
    parser.error(f"--arm: got {flags.arm}, expected one of {', '.join(arms)}.")
  arm = arms[flags.arm]
  splits = data.load(config.data, **config.data_options)
  made = problem.Problem(arm, splits, config.num_updates)
  optimizer = problem.make_optimizer(arm, config.num_updates)
  init = functools.partial(supervised.init, made, optimizer)
  keys = jax.random.split(jax.random.key(0), flags.seeds)
  states = jax.jit(lambda keys: jax.lax.map(init, keys))(keys)
  arrays = jax.device_put(made.data)

  def train(state, data):
    return supervised.train(made, optimizer, state, data, flags.updates)

  def side_by_side(states, data):
    return jax.vmap(train, in_axes=(0, None))(states, arrays)

  def in_turn(states, data):
    return jax.lax.map(lambda state: train(state, data), states)

  print(timing.machine())
  arguments = (states, arrays)
  results = timing.interleaved(
    [(side_by_side, arguments), (in_turn, arguments)], flags.repeats
  )
  count = flags.seeds * flags.updates
  side, turn = (1e3 * result.cpu / count for result in results)
  print(
    f"{flags.config}, {flags.arm}, {flags.seeds} seeds: CPU ms per update and "
    f"seed {side:.2f} by vmap, {turn:.2f} in turn, ratio {turn / side:.2f}"
  )


if __name__ == "__main__":
  main()
