"""Recurrent PPO here and in sb3-contrib: steps per CPU second, and returns.

  python -m venv /tmp/sb3
  /tmp/sb3/bin/python -m pip install torch sb3-contrib
  taskset -c 1 python -m benchmarks.recurrent_ppo \
    --peer_python=/tmp/sb3/bin/python

The task is CartPole-v1, 500 steps at most, whose velocities are hidden: of
Gymnasium there, in one process as is the default; of gymnax here, by the id
"view/CartPole-v1". Both have an LSTM that actor and critic share, of width 64,
with a hidden layer of 64 in each head, and `--settings` that are the same:

  rollouts  16 environments x 128 steps, 4 epochs of 4 minibatches, gamma 0.99,
            lambda 0.95, entropy bonus 0.01
  zoo       8 environments x 32 steps, 20 epochs of one minibatch, gamma 0.98,
            lambda 0.8: what rl-baselines3-zoo has for RecurrentPPO on this task

The learning rate falls from 1e-3 to 0. Ours is run without its previous action,
as RecurrentPPO, and with it. What still differs: here a dense layer is in front
of the LSTM, and a minibatch has whole rows; there sequences are cut where
episodes end, and padded.

Each seed trains all sides in turn, the peer in a process of its own with one
thread. A line is a part of the training: the mean return of the episodes that
ended in it, and of 32 new ones with the best action after it. Steps per second
of user time are those of the whole training, without evaluations and
compilation. purejaxrl's recurrent PPO is in no package index and not run here:
`benchmarks.ppo` has that loop, as its successor with S5 wrote it.
"""

import argparse
import json
import os
import subprocess
import sys

import numpy as np

WIDTH, EPISODES, RATE, VALUE_COEF = 64, 32, 1e-3, 0.5
_NAMES = "num_envs rollout_length num_epochs num_minibatches gamma gae_lambda"
_NAMES = (*_NAMES.split(), "entropy_coef")
SETTINGS = {
  "rollouts": (16, 128, 4, 4, 0.99, 0.95, 0.01),
  "zoo": (8, 32, 20, 1, 0.98, 0.8, 0.0),
}
_SHARED_LSTM = {"lstm_hidden_size": WIDTH, "shared_lstm": True}
_SHARED_LSTM["enable_critic_lstm"] = False
OURS, SHOWN, PEER = "jaxseq", "jaxseq, action shown", "sb3-contrib"


def _user() -> float:
  """Seconds of user time of all threads of this process."""
  return os.times().user


def compile_ours(settings, steps, points, shows_action):
  """Returns what trains our PPO with a seed, and the seconds to compile it.

  That returns of each part of the training user seconds and the two returns.
  """
  import jax

  from jaxseq import nn
  from jaxseq.rl import evaluate
  from jaxseq.rl import networks
  from jaxseq.rl.agents import ppo

  stack = nn.StackConfig(
    "lstm", d_model=WIDTH, num_layers=1, activation="none", residual=False
  )
  config = ppo.Config(
    env_id="view/CartPole-v1",
    env_options=(("shown", (0, 2)),),
    network=networks.Config(stack, encoder_widths=(), head_widths=(WIDTH,)),
    shows_action=shows_action,
    total_steps=steps,
    learning_rate=RATE,
    learning_rate_schedule="linear",
    value_coef=VALUE_COEF,
    clip_value=False,
    **dict(zip(_NAMES, SETTINGS[settings])),
  )
  updates, start = config.num_updates // points, _user()
  train = jax.jit(lambda runner: ppo.train(config, runner, updates))
  train = train.lower(ppo.init(config, jax.random.key(0))).compile()
  compiling = _user() - start

  def run(seed):
    runner, rows = ppo.init(config, jax.random.key(seed)), []
    for part in range(points):
      begun = _user()
      runner, metrics = jax.block_until_ready(train(runner))
      spent = _user() - begun
      ended = metrics["episodes"]
      training = np.nansum(metrics["episode_return"] * ended) / np.sum(ended)
      played = evaluate.evaluate(
        config,
        runner.variables,
        jax.random.key(1000 * seed + part),
        num_episodes=EPISODES,
        greedy=True,
      )
      rows.append([spent, float(training), float(played["mean_return"])])
    return rows

  return run, compiling


def train_peer(settings, steps, points, seed):
  """Returns the same rows of RecurrentPPO, in an environment that has it."""
  import gymnasium
  from gymnasium import wrappers
  import sb3_contrib
  from stable_baselines3.common import callbacks
  from stable_baselines3.common import env_util
  from stable_baselines3.common import evaluation
  import torch

  torch.set_num_threads(1)
  count, length, epochs, minibatches, gamma, lambda_, bonus = SETTINGS[settings]
  rows = []

  def positions(env):
    space = gymnasium.spaces.Box(-np.inf, np.inf, (2,))
    return wrappers.TransformObservation(env, lambda x: x[[0, 2]], space)

  def make(count, seed):
    return env_util.make_vec_env(
      "CartPole-v1", count, wrapper_class=positions, seed=seed
    )

  class Parts(callbacks.BaseCallback):
    returns, begun = (), None

    def _on_step(self):
      ended = [
        x["episode"]["r"] for x in self.locals["infos"] if "episode" in x
      ]
      self.returns = [*self.returns, *ended]
      return True

    def _on_rollout_start(self):
      # The update after the last rollout is over.
      if self.num_timesteps // (steps // points) > len(rows):
        self.measure()
      self.begun = self.begun or _user()

    def measure(self):
      spent, envs = _user() - self.begun, make(EPISODES, 1000 + seed)
      played, _ = evaluation.evaluate_policy(self.model, envs, EPISODES)
      rows.append([spent, float(np.mean(self.returns)), float(played)])
      self.returns, self.begun = (), _user()

  parts = Parts()
  sb3_contrib.RecurrentPPO(
    "MlpLstmPolicy",
    make(count, seed),
    n_steps=length,
    n_epochs=epochs,
    batch_size=count * length // minibatches,
    gamma=gamma,
    gae_lambda=lambda_,
    ent_coef=bonus,
    learning_rate=lambda left: RATE * left,
    vf_coef=VALUE_COEF,
    seed=seed,
    device="cpu",
    policy_kwargs={**_SHARED_LSTM, "net_arch": [WIDTH]},
  ).learn(steps, callback=parts)
  parts.measure()
  return rows


def main():
  parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
  parser.add_argument("--peer_python", help="interpreter of the peer")
  parser.add_argument("--settings", choices=list(SETTINGS), default="rollouts")
  parser.add_argument("--steps", type=int, default=65_536)
  parser.add_argument("--points", type=int, default=4, help="parts of them")
  parser.add_argument("--seeds", type=int, default=5)
  parser.add_argument("--serve", type=int, help="be the peer, with this seed")
  flags = parser.parse_args()
  same = flags.settings, flags.steps, flags.points
  if flags.serve is not None:
    print(json.dumps(train_peer(*same, flags.serve)))
    return

  def peer(seed):
    command = [flags.peer_python, __file__, *sys.argv[1:], f"--serve={seed}"]
    return json.loads(subprocess.check_output(command).splitlines()[-1])

  runs = {name: compile_ours(*same, name == SHOWN) for name in (OURS, SHOWN)}
  runs |= {PEER: (peer, 0.0)} if flags.peer_python else {}
  rows = {name: [] for name in runs}
  for seed in range(flags.seeds):
    for name, (run, _) in runs.items():
      rows[name].append(run(seed))
      print(
        f"{name}, seed {seed}: {np.round(rows[name][-1], 1).tolist()}",
        flush=True,
      )
  for name, (_, compiling) in runs.items():
    seconds, *returns = np.moveaxis(np.asarray(rows[name]), 2, 0)
    rate = _spread(flags.steps / seconds.sum(axis=1), 0)
    print(f"{name}: {rate} steps per CPU second; compiled in {compiling:.0f} s")
    for part in range(flags.points):
      training, played = (_spread(values[:, part], 1) for values in returns)
      count = (part + 1) * flags.steps // flags.points
      print(f"{count:>9,} steps: {training} in training, {played} after it")
  if not flags.peer_python:
    print(f"{PEER} was not run: --peer_python names its interpreter.")


def _spread(values, digits):
  """A mean and a standard deviation over seeds."""
  return f"{values.mean():,.{digits}f} ± {values.std():,.{digits}f}"


if __name__ == "__main__":
  main()
