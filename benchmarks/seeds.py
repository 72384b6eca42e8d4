"""Several seeds of PPO on one CPU core: side by side against in turn.

  taskset -c 1 python -m benchmarks.seeds [--arms=s5,gru,mamba]

CPU milliseconds per update and seed, two seeds by `vmap` and by `lax.map`, with
the networks of configs/icrl_suite/popgym.py. The two take turns; the best of
the runs is printed.
"""

import argparse
import functools

import jax

from benchmarks import timing
from configs.icrl_suite import popgym
from jaxseq.programs import icrl_suite
from jaxseq.rl import rl_arms
from jaxseq.rl.agents import ppo
from jaxseq.training import configuration

ENVIRONMENT = "AutoencodeEasy"


def main():
  parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
  parser.add_argument("--arms", default="s5,gru,aaren,mamba")
  parser.add_argument("--seeds", type=int, default=2)
  parser.add_argument("--repeats", type=int, default=3)
  flags = parser.parse_args()
  suite = configuration.from_config_dict(
    icrl_suite.Config, popgym.get_config(), name="config"
  )
  arms = icrl_suite.on(suite, ENVIRONMENT)
  chosen = flags.arms.split(",")
  unknown = [arm for arm in chosen if arm not in suite.arms]
  if unknown:
    parser.error(
      f"--arms: got {', '.join(unknown)}, expected some of"
      f" {', '.join(suite.arms)}."
    )
  print(timing.machine())
  print(f"{'CPU ms per update and seed':<28} {'vmap':>8} {'in turn':>8}")
  for arm in chosen:
    config = rl_arms.agent_config(arms, arm)
    keys = jax.random.split(jax.random.key(0), flags.seeds)
    runners = jax.jit(
      lambda keys, c=config: jax.lax.map(functools.partial(ppo.init, c), keys)
    )(keys)
    update = functools.partial(ppo.update, config)
    results = timing.interleaved(
      [
        (jax.vmap(update), (runners,)),
        (functools.partial(jax.lax.map, update), (runners,)),
      ],
      flags.repeats,
    )
    side, turn = (1e3 * result.cpu / flags.seeds for result in results)
    print(f"{arm:<28} {side:8.1f} {turn:8.1f}", flush=True)


if __name__ == "__main__":
  main()
