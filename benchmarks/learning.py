r"""What recurrent PPO learns here and in memorax, per step and per CPU second.

  python3.11 -m venv /tmp/memorax
  /tmp/memorax/bin/python -m pip install memorax==1.0.1
  /tmp/memorax/bin/python -m pip install --no-deps --editable .
  taskset -c 1 python -m benchmarks.learning \
    --peer_python=/tmp/memorax/bin/python --out=runs/learning

All play the environments of `TASKS` as this package makes them, memorax
through gymnax's `LegacyStepAPIWrapper`, without which it does not start. Side
"defaults" is `ppo.Config` with the memory and the number of steps changed, and
nothing else. "jaxseq" and "memorax" have 16 environments, rollouts of 128
steps, 4 epochs of 4 minibatches, clip 0.2, GAE 0.95, an entropy bonus of 0.01,
gradients of norm 0.5, a dense layer of `WIDTH` and relu, one memory of `WIDTH`,
and linear heads; ours keeps the other defaults. memorax's critic has a network
and an optimizer of its own, and its networks do not see the previous action.

`--ours` changes fields of our configurations, `--rates` lists learning rates of
all sides but "defaults"; `--pay` multiplies rewards. Each seed is trained by
all sides in turn, each in a process of its own, which is ended after
`--timeout`. A line is one run: the mean return of the episodes that ended in
each tenth of the training, raw, and the seconds of user time of the training
without compilation. `--out` keeps them as lines of JSON, which `--report`
reads; the table is of raw returns, divided by `--pay`, with the standard
deviation over seeds, and `returns.png` beside it shows every tenth.
"""

import argparse
import dataclasses
import json
import os
import pathlib
import subprocess
import sys

import numpy as np

WIDTH, TENTHS = 64, 10
NUM_ENVS, LENGTH, EPOCHS, MINIBATCHES = 16, 128, 4, 4
# Environment, options, parameters, and steps of the training.
TASKS = {
  "cartpole": ("view/CartPole-v1", {"shown": (0, 2)}, {}, 204_800),
  "mountain_car": ("view/MountainCar-v0", {"shown": (0,)}, {}, 204_800),
  "pendulum": ("view/Pendulum-v1", {"shown": (0, 1)}, {}, 204_800),
  "memory_chain": (
    "MemoryChain-bsuite",
    {},
    {"memory_length": 20},
    163_840,
  ),
  "umbrella": ("UmbrellaChain-bsuite", {}, {}, 163_840),
  "repeat_easy": ("RepeatPreviousEasy", {}, {}, 163_840),
  "repeat_medium": ("RepeatPreviousMedium", {}, {}, 409_600),
  "breakout": ("Breakout-MinAtar", {}, {}, 204_800),
  "inverted_pendulum": (
    "view/brax/inverted_pendulum",
    {"shown": (0, 1), "backend": "spring", "episode_length": 200},
    {},
    102_400,
  ),
}
# Needs the extra "brax" on both sides, and is run only if it is named.
BRAX = "inverted_pendulum"
MIXERS = "gru", "s5", "mingru"
SIDES = DEFAULTS, OURS, PEER = "defaults", "jaxseq", "memorax"


def _user() -> float:
  """Seconds of user time of all threads of this process."""
  return os.times().user


def register(name: str, options: dict, params: dict, pay: float) -> None:
  """Registers an environment as "Task", its rewards times `pay`."""
  from jaxseq.rl import envs

  class Paid:
    def __init__(self, env):
      self.env = env

    def __getattr__(self, name):
      return getattr(self.env, name)

    @property
    def default_params(self):
      return self.env.default_params.replace(**params)

    def step(self, key, state, action, params):
      observation, state, reward, *rest = self.env.step(
        key, state, action, params
      )
      return observation, state, pay * reward, *rest

  envs.register("Task", lambda: Paid(envs.make(name, **options)[0]))


def train_defaults(task, mixer, rate, seed, fields):
  """Returns what `train_ours` returns, with the defaults of `ppo.Config`."""
  del rate
  from jaxseq.rl import networks
  from jaxseq.rl.agents import ppo

  stack = dataclasses.replace(networks.GENERAL.stack, mixer=mixer)
  network = dataclasses.replace(networks.GENERAL, stack=stack)
  config = ppo.Config(
    env_id="Task",
    total_steps=TASKS[task][-1],
    **({"network": network} | fields),
  )
  return trained(ppo, config, seed, TENTHS)


def train_ours(task, mixer, rate, seed, fields):
  """Returns the mean return of each tenth, and seconds of user time."""
  from jaxseq import nn
  from jaxseq.rl import networks
  from jaxseq.rl.agents import ppo

  stack = nn.StackConfig(
    mixer,
    d_model=WIDTH,
    num_layers=1,
    norm="none",
    activation="none",
    residual=False,
  )
  settings = {
    "network": networks.Config(stack, encoder_widths=(), head_widths=()),
    "num_envs": NUM_ENVS,
    "rollout_length": LENGTH,
    "num_epochs": EPOCHS,
    "num_minibatches": MINIBATCHES,
    "learning_rate": rate,
    "gae_lambda": 0.95,
    "entropy_coef": 0.01,
  }
  config = ppo.Config(
    env_id="Task", total_steps=TASKS[task][-1], **(settings | fields)
  )
  return trained(ppo, config, seed, TENTHS)


def trained(algorithm, config, seed, parts):
  """Returns the mean return of each part of a training, and its user time.

  Args:
    algorithm: such as `ppo`.
    config: of it.
    seed: of the key.
    parts: number of parts, of as many updates each.
  """
  import jax

  runner = algorithm.init(config, jax.random.key(seed))
  updates = config.num_updates // parts
  train = jax.jit(lambda runner: algorithm.train(config, runner, updates))
  train, returns = train.lower(runner).compile(), []
  begun = _user()
  for _ in range(parts):
    runner, metrics = jax.device_get(train(runner))
    ended = metrics["episodes"].sum()
    total = np.nansum(metrics["episode_return"] * metrics["episodes"])
    returns.append(float(total / ended) if ended else None)
  return returns, _user() - begun


def train_peer(task, mixer, rate, seed, fields):
  """Returns the same of memorax, in an environment that has it."""
  del fields
  from flax import linen
  from gymnax import wrappers
  import jax
  import jax.numpy as jnp
  from memorax import algorithms
  from memorax import networks
  from memorax.networks import heads
  import optax

  from jaxseq.rl import envs
  from jaxseq.rl.envs import spaces

  env, params = envs.make("Task")
  space = env.observation_space(params)
  env = wrappers.LegacyStepAPIWrapper(env)

  class Flat:
    """Shows what our agents see of an observation: one-hots and numbers."""

    def __init__(self, env):
      self.env = env

    def __getattr__(self, name):
      return getattr(self.env, name)

    def reset(self, key, params):
      observation, state = self.env.reset(key, params)
      return spaces.flatten(space, observation), state

    def step(self, key, state, action, params):
      seen, state, reward, done, _ = self.env.step(key, state, action, params)
      reward = jnp.asarray(reward, jnp.float32)
      return spaces.flatten(space, seen), state, reward, done, {}

  config = algorithms.PPOConfig(
    name="peer",
    num_envs=NUM_ENVS,
    num_eval_envs=1,
    num_steps=LENGTH,
    gamma=0.99,
    gae_lambda=0.95,
    num_minibatches=MINIBATCHES,
    update_epochs=EPOCHS,
    normalize_advantage=True,
    clip_coef=0.2,
    clip_vloss=True,
    ent_coef=0.01,
    vf_coef=0.5,
  )
  cells = {
    "gru": lambda: networks.RNN(linen.GRUCell(WIDTH)),
    "s5": lambda: networks.Memoroid(networks.S5Cell(WIDTH, WIDTH)),
    "mingru": lambda: networks.Memoroid(networks.MinGRUCell(WIDTH)),
  }
  seen = networks.FeatureExtractor(
    observation_extractor=networks.MLP(features=(WIDTH,))
  )
  actions = env.action_space(params)
  continuous = hasattr(actions, "shape") and bool(actions.shape)
  head = (
    heads.Gaussian(actions.shape[0])
    if continuous
    else heads.Categorical(actions.n)
  )
  adam = optax.chain(optax.clip_by_global_norm(0.5), optax.adam(rate, eps=1e-5))
  agent = algorithms.PPO(
    config,
    Flat(env),
    params,
    networks.Network(seen, cells[mixer](), head),
    networks.Network(seen, cells[mixer](), heads.VNetwork()),
    adam,
    adam,
  )
  key, state = agent.init(jax.random.key(seed))
  steps = TASKS[task][-1] // (NUM_ENVS * LENGTH * TENTHS) * NUM_ENVS * LENGTH
  train = agent.train.lower(agent, key, state, steps).compile()
  returns, running, begun = [], np.zeros(NUM_ENVS), _user()
  for _ in range(TENTHS):
    key, state, taken = jax.block_until_ready(train(key, state))
    ended = []
    for reward, done in zip(
      np.asarray(taken.reward).reshape(-1, NUM_ENVS),
      np.asarray(taken.done).reshape(-1, NUM_ENVS),
    ):
      running += reward
      ended += running[done].tolist()
      running[done] = 0
    returns.append(float(np.mean(ended)) if ended else None)
  return returns, _user() - begun


def report(rows, out):
  """Prints a line each of task, memory, pay, side and rate, and draws them."""
  groups = {}
  for row in rows:
    name = (row["task"], row["mixer"], row["pay"], row["side"], row["rate"])
    groups.setdefault((*name, row["fields"]), []).append(row)
  print("| task | memory | pay | side | rate | seeds | last tenth | all | s |")
  print("|---|---|---|---|---|---|---|---|---|")
  panels = {}
  for name, runs in sorted(groups.items()):
    task, mixer, pay, side, rate, fields = name
    returns = np.array([run["returns"] for run in runs], float) / pay
    rate = "its own" if side == DEFAULTS else f"{rate:g}"
    said = f"{side} {fields}" if fields != "{}" else side
    cells = task, mixer, f"{pay:g}", said, rate, str(len(runs))
    last, whole = _spread(returns[:, -1]), _spread(np.nanmean(returns, axis=1))
    seconds = _spread([run["seconds"] for run in runs])
    print("|", " | ".join((*cells, last, whole, seconds)), "|")
    times = "" if pay == 1 else f", rewards x {pay:g}"
    steps = TASKS[task][-1] * np.arange(1, TENTHS + 1) / TENTHS
    label = said if side == DEFAULTS else f"{said}, {rate}"
    panel = panels.setdefault(f"{task}, {mixer}{times}", {})
    panel[label] = steps, returns
  from jaxseq.training import plots

  plots.learning_curves(out / "returns.png", panels, ylabel="return")


def _spread(values):
  """Mean and standard deviation over seeds."""
  error = np.std(values, ddof=1) if len(values) > 1 else 0
  return f"{np.mean(values):.4g} ± {error:.2g}"


def main():
  parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
  parser.add_argument("--peer_python", help="interpreter that has memorax")
  usual = [name for name in TASKS if name != BRAX]
  parser.add_argument("--tasks", nargs="+", choices=TASKS, default=usual)
  parser.add_argument("--mixers", nargs="+", choices=MIXERS, default=MIXERS)
  parser.add_argument("--sides", nargs="+", choices=SIDES, default=SIDES)
  parser.add_argument("--rates", nargs="+", type=float, default=[1e-3])
  parser.add_argument("--pay", nargs="+", type=float, default=[1.0])
  parser.add_argument("--ours", default="{}", help="fields, as JSON")
  parser.add_argument("--seeds", type=int, default=5)
  parser.add_argument("--out", type=pathlib.Path, default="runs/learning")
  parser.add_argument("--timeout", type=float, help="seconds of one run")
  parser.add_argument("--report", action="store_true", help="only the table")
  parser.add_argument("--serve", help=argparse.SUPPRESS)
  flags = parser.parse_args()
  if flags.serve:
    side, *run, pay, fields = json.loads(flags.serve)
    register(*TASKS[run[0]][:3], pay)
    trains = {DEFAULTS: train_defaults, OURS: train_ours, PEER: train_peer}
    print(json.dumps(trains[side](*run, fields)))
    return
  flags.out.mkdir(parents=True, exist_ok=True)
  file = flags.out / "runs.jsonl"
  pythons = {DEFAULTS: sys.executable, OURS: sys.executable}
  if flags.peer_python:
    pythons[PEER] = flags.peer_python
  sides = {side: pythons[side] for side in flags.sides if side in pythons}
  runs = [
    (task, mixer, rate, seed, pay)
    for task in flags.tasks
    for mixer in flags.mixers
    for rate in flags.rates
    for pay in flags.pay
    for seed in range(flags.seeds)
  ]
  rows = []
  if file.exists():
    rows = [json.loads(line) for line in file.read_text().splitlines()]
  held = {(r["side"], *(r[x] for x in _RUN), r["fields"]) for r in rows}
  for run in () if flags.report else runs:
    for side, python in sides.items():
      if side == DEFAULTS and run[2] != flags.rates[0]:
        continue
      fields = "{}" if side == PEER else flags.ours
      if (side, *run, fields) in held:
        continue
      given = json.dumps([side, *run, json.loads(fields)])
      command = [python, "-m", "benchmarks.learning", f"--serve={given}"]
      try:
        out = subprocess.check_output(command, timeout=flags.timeout)
      except subprocess.TimeoutExpired:
        print(side, *run, fields, f"no end in {flags.timeout:g} s", flush=True)
        continue
      returns, seconds = json.loads(out.splitlines()[-1])
      row = {"side": side, **dict(zip(_RUN, run)), "fields": fields}
      row |= {"returns": returns, "seconds": seconds}
      with file.open("a") as lines:
        lines.write(json.dumps(row) + "\n")
      rows.append(row)
      shown = np.round(np.array(returns, float)[[1, 4, 7, 9]], 3).tolist()
      print(side, *run, fields, shown, f"{seconds:.1f} s", flush=True)
  report(rows, flags.out)


_RUN = "task", "mixer", "rate", "seed", "pay"

if __name__ == "__main__":
  main()
