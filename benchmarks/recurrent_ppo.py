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
compilation.

purejaxrl's recurrent PPO is a file of a repository, written for jax 0.4:

  git clone https://github.com/luchris429/purejaxrl /tmp/purejaxrl
  python3.11 -m venv /tmp/jax04
  /tmp/jax04/bin/python -m pip install jax==0.4.20 jaxlib==0.4.20 \
    flax==0.6.11 distrax==0.1.5 gymnax==0.0.6 'optax<0.1.9' 'chex<0.1.86' \
    tensorflow-probability==0.22.1 'orbax-checkpoint<0.5' 'numpy<1.27' \
    'scipy<1.12' setuptools
  taskset -c 1 python -m benchmarks.recurrent_ppo --purejaxrl=/tmp/purejaxrl \
    --purejaxrl_python=/tmp/jax04/bin/python

Its network is its own: a dense layer of 128, a GRU of 128 and heads of 128;
its values are clipped, and a time limit counts as an end. It trains from the
first step to the last in one program, and so has one line, of the end. A third
one of ours has these sizes, and clips values, too.
"""

import argparse
import functools
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
PUREJAXRL, WIDE = "purejaxrl", "jaxseq, sizes of purejaxrl"


def _user() -> float:
  """Seconds of user time of all threads of this process."""
  return os.times().user


def compile_ours(settings, steps, points, shows_action=False, wide=False):
  """Returns what trains our PPO with a seed, and the seconds to compile it.

  That returns of each part of the training user seconds and the two returns.
  """
  import jax

  from jaxseq import nn
  from jaxseq.rl import evaluate
  from jaxseq.rl import networks
  from jaxseq.rl.agents import ppo

  stack = nn.StackConfig(
    "gru" if wide else "lstm",
    d_model=2 * WIDTH if wide else WIDTH,
    num_layers=1,
    activation="none",
    residual=False,
  )
  network = networks.Config(stack, encoder_widths=(), head_widths=(WIDTH,))
  if wide:
    widths = {"encoder_widths": (2 * WIDTH,), "head_widths": (2 * WIDTH,)}
    network = networks.Config(stack, **widths)
  fields = dict(ppo.Config.published) | {
    "env_id": "view/CartPole-v1",
    "env_options": (("shown", (0, 2)),),
    "network": network,
    "shows_action": shows_action,
    "total_steps": steps,
    "learning_rate": RATE,
    "learning_rate_schedule": "linear",
    "value_coef": VALUE_COEF,
    "clip_value": wide,
  }
  config = ppo.Config(**fields | dict(zip(_NAMES, SETTINGS[settings])))
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


def train_purejaxrl(folder, settings, steps, points, seed):
  """Returns one row of purejaxrl: of all steps, and the returns at the end."""
  sys.path.insert(0, os.path.join(folder, "purejaxrl"))
  import gymnax
  from gymnax.environments import spaces
  import jax
  import jax.numpy as jnp

  # Its wrappers of Brax are not used here.
  sys.modules.setdefault("brax", type(sys)("brax")).envs = None
  import ppo_rnn

  class Positions:
    def __init__(self, env):
      self.env = env

    def __getattr__(self, name):
      return getattr(self.env, name)

    def observation_space(self, params):
      return spaces.Box(-np.inf, np.inf, (2,))

    def reset(self, key, params=None):
      observation, state = self.env.reset(key, params)
      return observation[jnp.array([0, 2])], state

    def step(self, key, state, action, params=None):
      observation, *rest = self.env.step(key, state, action, params)
      return observation[jnp.array([0, 2])], *rest

  env, params = gymnax.make("CartPole-v1")
  env = Positions(env)
  ppo_rnn.gymnax = type(sys)("hidden")
  ppo_rnn.gymnax.make = lambda name: (env, params)
  names = "NUM_ENVS NUM_STEPS UPDATE_EPOCHS NUM_MINIBATCHES GAMMA GAE_LAMBDA"
  config = {
    "ENV_NAME": "CartPole-v1",
    "LR": RATE,
    "TOTAL_TIMESTEPS": steps,
    "CLIP_EPS": 0.2,
    "VF_COEF": VALUE_COEF,
    "MAX_GRAD_NORM": 0.5,
    "ANNEAL_LR": True,
    **dict(zip((*names.split(), "ENT_COEF"), SETTINGS[settings])),
  }
  train = jax.jit(ppo_rnn.make_train(config))
  train = train.lower(jax.random.PRNGKey(0)).compile()
  begun = _user()
  out = jax.block_until_ready(train(jax.random.PRNGKey(seed)))
  spent = _user() - begun
  network = ppo_rnn.ActorCriticRNN(2, config=config)
  learned = out["runner_state"][0].params

  def step(carry, key):
    state, seen, memory, total, over = carry
    inputs = seen[None], jnp.zeros((1, EPISODES))
    memory, choice, _ = network.apply(learned, memory, inputs)
    keys = jax.random.split(key, EPISODES)
    seen, state, reward, done, _ = jax.vmap(env.step, (0, 0, 0, None))(
      keys, state, choice.logits[0].argmax(axis=-1), params
    )
    total += jnp.where(over, 0, reward)
    return (state, seen, memory, total, over | done), None

  key, key_play = jax.random.split(jax.random.PRNGKey(1000 + seed))
  keys = jax.random.split(key, EPISODES)
  seen, state = jax.vmap(env.reset, (0, None))(keys, params)
  memory = ppo_rnn.ScannedRNN.initialize_carry(EPISODES, 128)
  start = state, seen, memory, jnp.zeros(EPISODES), jnp.zeros(EPISODES, bool)
  keys = jax.random.split(key_play, 500)
  played = jax.jit(lambda x: jax.lax.scan(step, x, keys)[0][3])(start)
  last = {
    name: np.asarray(value)[-len(value) // points :]
    for name, value in out["metric"].items()
  }
  ended = last["returned_episode"]
  training = last["returned_episode_returns"][ended].mean()
  return [[spent, float(training), float(played.mean())]]


def main():
  parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
  parser.add_argument("--peer_python", help="interpreter of the peer")
  parser.add_argument("--purejaxrl", help="folder of its repository")
  parser.add_argument("--purejaxrl_python", help="its interpreter, of jax 0.4")
  parser.add_argument("--settings", choices=list(SETTINGS), default="rollouts")
  parser.add_argument("--steps", type=int, default=65_536)
  parser.add_argument("--points", type=int, default=4, help="parts of them")
  parser.add_argument("--seeds", type=int, default=5)
  parser.add_argument("--serve", type=int, help="be the peer, with this seed")
  parser.add_argument("--serve_purejaxrl", type=int, help="be that one")
  flags = parser.parse_args()
  if bool(flags.purejaxrl) != bool(flags.purejaxrl_python):
    parser.error("--purejaxrl and --purejaxrl_python: expected both, or none.")
  same = flags.settings, flags.steps, flags.points
  if flags.serve is not None:
    print(json.dumps(train_peer(*same, flags.serve)))
    return
  if flags.serve_purejaxrl is not None:
    seed = flags.serve_purejaxrl
    print(json.dumps(train_purejaxrl(flags.purejaxrl, *same, seed)))
    return

  def served(python, option, seed):
    command = [python, __file__, *sys.argv[1:], f"--{option}={seed}"]
    return json.loads(subprocess.check_output(command).splitlines()[-1])

  runs = {name: compile_ours(*same, name == SHOWN) for name in (OURS, SHOWN)}
  if flags.purejaxrl:
    runs[WIDE] = compile_ours(*same, wide=True)
  for name, python, option in (
    (PEER, flags.peer_python, "serve"),
    (PUREJAXRL, flags.purejaxrl_python, "serve_purejaxrl"),
  ):
    if python:
      runs[name] = functools.partial(served, python, option), 0.0
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
    parts = seconds.shape[1]
    for part in range(parts):
      training, played = (_spread(values[:, part], 1) for values in returns)
      count = (part + 1) * flags.steps // parts
      print(f"{count:>9,} steps: {training} in training, {played} after it")
  for name, python in (
    (PEER, flags.peer_python),
    (PUREJAXRL, flags.purejaxrl_python),
  ):
    if not python:
      print(f"{name} was not run: an option names its interpreter, see --help.")


def _spread(values, digits):
  """A mean and a standard deviation over seeds."""
  return f"{values.mean():,.{digits}f} ± {values.std():,.{digits}f}"


if __name__ == "__main__":
  main()
