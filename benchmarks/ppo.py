"""Environment steps per second of whole PPO updates, S5 against the baseline.

  python -m benchmarks.ppo [--updates=5] [--envs=16] [--width=64] [--layers=2]

An update is the rollout, the advantages, and all epochs. Both sides are the
same loop with the same parameters on RepeatPreviousEasy and differ only in how
S5 is computed: `jaxseq.mixers.s5`, or flags carried through
`jax.lax.associative_scan` with one-element sequences in the rollout.
"""

import argparse
import time

import jax

from benchmarks import timing
from jaxseq import mixers
from jaxseq.rl import networks
from jaxseq.rl import ppo


def config_of(mixer, args):
  return ppo.Config(
    env_id="RepeatPreviousEasy",
    network=networks.Config(
      mixer=mixer,
      mixer_options=(
        ("ssm_size", args.width),
        ("blocks", 1),
        ("c_init", "lecun_normal"),
      ),
      d_model=args.width,
      num_layers=args.layers,
    ),
    num_envs=args.envs,
    rollout_length=256,
    total_steps=1_000_000,
    num_epochs=4,
    num_minibatches=4,
    learning_rate=5e-4,
  )


def prepare(mixer, args):
  """The compiled update, a state, and wall and CPU seconds to compile."""
  config = config_of(mixer, args)
  init = jax.jit(lambda key: ppo.init(config, key))
  runner = jax.block_until_ready(init(jax.random.key(0)))
  wall, cpu = time.perf_counter(), time.process_time()
  update = jax.jit(lambda runner: ppo.update(config, runner))
  update = update.lower(runner).compile()
  cost = time.perf_counter() - wall, time.process_time() - cpu
  return config, update, runner, cost


def main():
  parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
  parser.add_argument("--updates", type=int, default=5)
  parser.add_argument("--envs", type=int, default=16)
  parser.add_argument("--width", type=int, default=64)
  parser.add_argument("--layers", type=int, default=2)
  args = parser.parse_args()
  mixers.register("s5_baseline", "benchmarks.s5_baseline")
  print(timing.machine())
  sides = {name: prepare(name, args) for name in ("s5", "s5_baseline")}
  best = dict.fromkeys(sides, (float("inf"), float("inf")))
  for _ in range(args.updates):
    for name, (_, update, runner, _) in sides.items():
      wall, cpu = time.perf_counter(), time.process_time()
      jax.block_until_ready(update(runner))
      wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
      best[name] = (min(best[name][0], wall), min(best[name][1], cpu))
  print(
    f"{'':>12} {'steps per second':>17} {'per CPU second':>15} "
    f"{'compile, wall s':>16} {'CPU s':>6}"
  )
  for name, (config, _, _, cost) in sides.items():
    wall, cpu = best[name]
    print(
      f"{name:>12} {config.steps_per_update / wall:17,.0f} "
      f"{config.steps_per_update / cpu:15,.0f} {cost[0]:16.1f} {cost[1]:6.1f}"
    )
  ratios = [best["s5_baseline"][i] / best["s5"][i] for i in (0, 1)]
  print(f"s5 is {ratios[0]:.1f} times as fast, {ratios[1]:.1f} by CPU time")


if __name__ == "__main__":
  main()
