"""Environment steps per second of whole PPO updates, S5 against its baseline.

  python -m benchmarks.ppo

One update is a rollout of 16 environments x 256 steps of RepeatPreviousEasy
and 4 epochs of 4 minibatches; encoder 9-128-64, two S5 layers of width 64 with
64 states and full GLU, heads 64-128-128. Both programs are the same but for the
S5 layer: `jaxseq.mixers.s5`, and the formulation with the reset flag carried
through `jax.lax.associative_scan`. They take turns; the best run counts.

Most of the work is products with the network's matrices. The last lines say
how many operations of such products a second of CPU time does in these updates,
and in products of 1024 rows with a matrix of the heads, alone in the same run.
"""

import argparse
import functools

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks import timing
from jaxseq import mixers
from jaxseq.rl import networks
from jaxseq.rl import ppo

BASELINE = "s5_baseline"
mixers.register(BASELINE, "benchmarks.s5_baseline")


def configuration(mixer, **options):
  network = networks.Config(
    mixer=mixer,
    mixer_options=(("ssm_size", 64), ("blocks", 1)),
    d_model=64,
    num_layers=2,
    encoder_widths=(128,),
    head_widths=(128, 128),
  )
  return ppo.Config(
    **{
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


def main():
  parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
  parser.add_argument("--repeats", type=int, default=10)
  repeats = parser.parse_args().repeats
  configs = [configuration(mixer) for mixer in ("s5", BASELINE)]
  runners = [ppo.init(config, jax.random.key(0)) for config in configs]
  metrics = [
    ppo.update(config, runner)[1] for config, runner in zip(configs, runners)
  ]
  # Same seed, same numbers up to rounding: the comparison is of one thing.
  for name in ("episode_return", "value_loss", "entropy"):
    new, old = metrics[0][name], metrics[1][name]
    np.testing.assert_allclose(new, old, rtol=0.02, err_msg=name)
  new, old = timing.interleaved(
    [
      (functools.partial(ppo.update, config), (runner,))
      for config, runner in zip(configs, runners)
    ],
    repeats,
  )
  steps = configs[0].steps_per_update
  print(timing.machine())
  print(f"{'':>10} {'steps/s':>9} {'steps/CPU-s':>12} {'compile s':>10}")
  for name, result in (("baseline", old), ("jaxseq", new)):
    print(
      f"{name:>10} {steps / result.wall:9,.0f} {steps / result.cpu:12,.0f}"
      f" {result.compile:10.1f}"
    )
  print(
    f"{'ratio':>10} {old.wall / new.wall:9.2f} {old.cpu / new.cpu:12.2f}"
    f" {old.compile / new.compile:10.2f}"
  )
  each = operations(configs[0], runners[0].variables)
  print(
    f"{each / 1e6:.2f} million operations of products per step; in a CPU s:"
  )
  for name, rate in (
    ("baseline", each * steps / old.cpu),
    ("jaxseq", each * steps / new.cpu),
    ("alone", products_alone(repeats)),
  ):
    print(f"{name:>10} {rate / 1e9:9.1f} billion")


if __name__ == "__main__":
  main()
