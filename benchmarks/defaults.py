r"""Whether agents learn with their defaults, on environments nobody tuned for.

  taskset -c 1 python -m benchmarks.defaults --agent=ppo --seeds=2

trains `Config(env_id=...)` of an agent on each of `TASKS`, and prints a line
for each seed: the mean raw return of the episodes that ended in each fifth of
the training, seconds of user time, and whether the last fifth reached the
threshold. `--pay` multiplies the rewards, `--fields` changes fields, as JSON.
Rows are kept in `--out`, so that a run that was interrupted goes on.
"""

import argparse
import dataclasses
import json
import pathlib

import numpy as np

from benchmarks import learning
from jaxseq.rl import algorithms

FIFTHS = 5
# Environment, options, parameters, and the return that counts as learned.
TASKS = {
  "cartpole": (*learning.TASKS["cartpole"][:3], 450),
  "pendulum": (*learning.TASKS["pendulum"][:3], -400),
  "acrobot": ("Acrobot-v1", {}, {}, -100),
  "memory_chain": (*learning.TASKS["memory_chain"][:3], 0.9),
  "repeat_easy": (*learning.TASKS["repeat_easy"][:3], 0.9),
  "repeat_first": ("RepeatFirstEasy", {}, {}, 0.9),
  "breakout": (*learning.TASKS["breakout"][:3], 10),
  "space_invaders": ("SpaceInvaders-MinAtar", {}, {}, 30),
}


def train(agent, task, pay, seed, fields):
  """Returns the mean return of each fifth, and seconds of user time."""
  algorithm = algorithms.get(agent)
  name, options, params, _ = TASKS[task]
  learning.register(name, options, params, pay)
  config = dataclasses.replace(algorithm.Config(env_id="Task"), **fields)
  returns, seconds = learning.trained(algorithm, config, seed, FIFTHS)
  return [x if x is None else x / pay for x in returns], seconds


def main():
  parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
  parser.add_argument("--agent", choices=algorithms.names(), default="ppo")
  parser.add_argument("--tasks", nargs="+", choices=TASKS, default=[*TASKS])
  parser.add_argument("--pay", nargs="+", type=float, default=[1.0])
  parser.add_argument("--seeds", type=int, default=2)
  parser.add_argument("--fields", default="{}", help="fields, as JSON")
  parser.add_argument("--out", type=pathlib.Path, default="runs/defaults")
  flags = parser.parse_args()
  flags.out.mkdir(parents=True, exist_ok=True)
  file, held = flags.out / "runs.jsonl", {}
  if file.exists():
    for line in file.read_text().splitlines():
      *run, result = json.loads(line)
      held[tuple(run)] = result
  for task in flags.tasks:
    for pay in flags.pay:
      for seed in range(flags.seeds):
        run = flags.agent, task, pay, seed, flags.fields
        if run not in held:
          held[run] = train(*run[:-1], json.loads(flags.fields))
          with file.open("a") as lines:
            lines.write(json.dumps([*run, held[run]]) + "\n")
        returns, seconds = held[run]
        threshold = TASKS[task][-1]
        said = "learned" if (returns[-1] or -np.inf) >= threshold else "not yet"
        shown = np.round(np.array(returns, float), 2).tolist()
        print(*run, shown, f"{seconds:.0f} s", threshold, said, flush=True)


if __name__ == "__main__":
  main()
