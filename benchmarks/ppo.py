"""Environment steps per second of whole PPO updates with S5, ours and others'.

  python -m benchmarks.ppo

One update is a rollout of 16 environments x 256 steps of RepeatPreviousEasy
and 4 epochs of 4 minibatches; encoder 9-128-64, two S5 layers of width 64 with
64 states and full GLU, heads 64-128-128. Three programs take turns, and the
best run of each counts:

  public     the whole formulation of the public in-context RL code, as written
             in `ppo_baseline`: environments, loop and layers
  its layer  our program with that formulation of the S5 layer alone, the reset
             flag carried through `jax.lax.associative_scan`
  jaxseq     our program

"compile s" is what a run compiles: its start and an update.

Most of the work is products with the network's matrices. The last lines say
how many operations of such products a second of CPU time does in these updates,
and in products of 1024 rows with a matrix of the heads, alone in the same run.
"""

import argparse
import functools
import time

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks import ppo_baseline
from benchmarks import timing
from jaxseq import mixers
from jaxseq import nn
from jaxseq.rl import networks
from jaxseq.rl.agents import ppo

BASELINE, JAXSEQ = "s5_baseline", "jaxseq"


def configuration(mixer, **options):
  network = networks.Config(
    nn.StackConfig(
      mixer,
      mixer_options=(("ssm_size", 64), ("blocks", 1)),
      d_model=64,
      num_layers=2,
      norm="none",
      activation="full_glu",
    ),
    encoder_widths=(128,),
    head_widths=(128, 128),
  )
  return ppo.Config(
    **dict(ppo.Config.published)
    | {
      "network": network,
      "num_envs": 16,
      "rollout_length": 256,
      "total_steps": 614_400,
      "num_epochs": 4,
      "num_minibatches": 4,
      "learning_rate": 5e-4,
    }
    | options
  )


def operations(config, variables):
  """Floating-point operations of products, for one environment step.

  A rollout passes the network once; a gradient costs three passes.
  """
  sizes = [x.size for x in jax.tree.leaves(variables) if x.ndim > 1]
  return 2 * sum(sizes) * (1 + 3 * config.num_epochs)


def products_alone(repeats):
  """Operations per CPU second of a chain of products."""
  rows, width, times = 1024, 128, 1000
  x = jnp.ones((rows, width))
  matrix = jnp.eye(width)

  @jax.jit
  def chain(x, matrix):
    return jax.lax.fori_loop(0, times, lambda _, x: x @ matrix, x)

  (result,) = timing.interleaved([(chain, (x, matrix))], repeats)
  return times * 2 * rows * width**2 / result.cpu


def _compile(function, *arguments):
  """Compiles; returns the program and the seconds that took."""
  start = time.perf_counter()
  compiled = jax.jit(function).lower(*arguments).compile()
  return compiled, time.perf_counter() - start


def main():
  parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
  parser.add_argument("--repeats", type=int, default=10)
  repeats = parser.parse_args().repeats
  # Here, so that who imports this has no mixer more.
  mixers.register(BASELINE, "benchmarks.s5_baseline")
  config = configuration("s5")
  programs = {"public": ppo_baseline.make(config)} | {
    name: tuple(functools.partial(f, each) for f in (ppo.init, ppo.update))
    for name, each in (("its layer", configuration(BASELINE)), (JAXSEQ, config))
  }
  pairs, starts, metrics = [], {}, {}
  for name, (init, update) in programs.items():
    init, starts[name] = _compile(init, jax.random.key(0))
    runner = init(jax.random.key(0))
    pairs.append((update, (runner,)))
    metrics[name] = jax.jit(update)(runner)[1]
  # Same seed, same numbers up to rounding: the comparison is of one thing.
  for name in ("episode_return", "value_loss", "entropy"):
    np.testing.assert_allclose(
      metrics[JAXSEQ][name], metrics["its layer"][name], rtol=0.02, err_msg=name
    )
  results = dict(zip(programs, timing.interleaved(pairs, repeats)))
  steps = config.steps_per_update
  ours = results[JAXSEQ]
  print(timing.machine())
  print(
    f"{'':>10} {'steps/s':>9} {'steps/CPU-s':>12} {'jaxseq':>8}"
    f" {'compile s':>10}"
  )
  for name, result in results.items():
    print(
      f"{name:>10} {steps / result.wall:9,.0f} {steps / result.cpu:12,.0f}"
      f" {f'x {result.cpu / ours.cpu:.2f}':>8}"
      f" {starts[name] + result.compile:10.1f}"
    )
  variables = pairs[-1][1][0].variables
  each = operations(config, variables)
  print(
    f"{each / 1e6:.2f} million operations of products per step; in a CPU s:"
  )
  rates = {name: each * steps / x.cpu for name, x in results.items()}
  for name, rate in (rates | {"alone": products_alone(repeats)}).items():
    print(f"{name:>10} {rate / 1e9:9.1f} billion")


if __name__ == "__main__":
  main()
