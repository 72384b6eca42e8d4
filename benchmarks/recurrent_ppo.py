"""Recurrent PPO here and in sb3-contrib: steps per second and returns.

  python -m venv /tmp/peers
  /tmp/peers/bin/python -m pip install torch sb3-contrib .
  /tmp/peers/bin/python -m benchmarks.recurrent_ppo

The task is the cart-pole that shows positions alone, 200 steps at most: here
the game of POPGym, compiled with the agent; there CartPole-v1 of Gymnasium with
two of its four numbers, in processes of its own if `--processes` says so. Both
have 16 environments, rollouts of 128 steps, 4 epochs of 4 minibatches, one LSTM
of width 64 that policy and critic share, a hidden layer of 64 in each head, and
the same learning rate and coefficients. RecurrentPPO does not see its previous
action, and here `shows_action=False` keeps it from ours, too; `--action` shows
it. What still differs: whole rows of 128 steps are learned from here, there
sequences are cut at ends of episodes and padded; and there a time limit is
bootstrapped from the observation alone.

Steps are those of the whole training, the first update and all compilation left
out; CPU seconds are those of all threads. Returns are means of the last
episodes, 1 at most. purejaxrl's loop is that of `benchmarks.ppo`, in the form
of its successor with S5.
"""

import argparse
import time

import numpy as np

from benchmarks import timing

NUM_ENVS, LENGTH, EPOCHS, MINIBATCHES, WIDTH, LIMIT = 16, 128, 4, 4, 64, 200
SHARED = {"gamma": 0.99, "gae_lambda": 0.95, "learning_rate": 1e-3}


def ours(steps, shows_action):
  """Steps per second, per CPU second, and the return at the end."""
  import jax

  from jaxseq import nn
  from jaxseq.rl import networks
  from jaxseq.rl.agents import ppo

  stack = nn.StackConfig(
    "lstm", d_model=WIDTH, num_layers=1, activation="none", residual=False
  )
  config = ppo.Config(
    env_id="PositionOnlyCartPoleEasy",
    network=networks.Config(
      stack, encoder_widths=(WIDTH,), head_widths=(WIDTH,)
    ),
    shows_action=shows_action,
    num_envs=NUM_ENVS,
    rollout_length=LENGTH,
    num_epochs=EPOCHS,
    num_minibatches=MINIBATCHES,
    total_steps=steps,
    **SHARED,
  )
  update = jax.jit(lambda runner: ppo.update(config, runner))
  runner = ppo.init(config, jax.random.key(0))
  jax.block_until_ready(update(runner))
  wall, cpu, returns = time.perf_counter(), time.process_time(), []
  for _ in range(config.num_updates):
    runner, metrics = update(runner)
    returns.append(metrics["episode_return"])
  returns = np.asarray(returns)
  wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
  last = returns[-max(1, len(returns) // 10) :]
  return steps / wall, steps / cpu, np.nanmean(last)


def theirs(steps, processes):
  """Numbers of `ours` for sb3-contrib's RecurrentPPO."""
  import gymnasium
  import sb3_contrib
  from stable_baselines3.common import callbacks
  from stable_baselines3.common import env_util
  from stable_baselines3.common import vec_env

  class Positions(gymnasium.ObservationWrapper):
    def __init__(self, env):
      super().__init__(env)
      space = env.observation_space
      self.observation_space = gymnasium.spaces.Box(
        space.low[[0, 2]], space.high[[0, 2]]
      )

    def observation(self, observation):
      return observation[[0, 2]]

  class Clock(callbacks.BaseCallback):
    """Starts when the first rollout and its update are over."""

    begun, rollouts = None, 0

    def _on_rollout_start(self):
      self.rollouts += 1
      if self.rollouts == 2:
        self.begun = time.perf_counter(), time.process_time()

    def _on_step(self):
      return True

  kind = vec_env.SubprocVecEnv if processes else vec_env.DummyVecEnv
  env = env_util.make_vec_env(
    lambda: gymnasium.make("CartPole-v1", max_episode_steps=LIMIT),
    NUM_ENVS,
    wrapper_class=Positions,
    vec_env_cls=kind,
    seed=0,
  )
  agent = sb3_contrib.RecurrentPPO(
    "MlpLstmPolicy",
    env,
    n_steps=LENGTH,
    batch_size=NUM_ENVS * LENGTH // MINIBATCHES,
    n_epochs=EPOCHS,
    clip_range_vf=0.2,
    vf_coef=1.0,
    seed=0,
    policy_kwargs={
      "lstm_hidden_size": WIDTH,
      "shared_lstm": True,
      "enable_critic_lstm": False,
      "net_arch": [WIDTH],
    },
    **SHARED,
  )
  clock = Clock()
  agent.learn(steps + NUM_ENVS * LENGTH, callback=clock)
  wall, cpu = clock.begun
  wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
  returns = np.mean([episode["r"] for episode in agent.ep_info_buffer]) / LIMIT
  return steps / wall, steps / cpu, returns


def main():
  parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
  parser.add_argument("--steps", type=int, default=204_800)
  parser.add_argument("--action", action="store_true")
  parser.add_argument("--processes", action="store_true")
  arguments = parser.parse_args()
  print(timing.machine())
  print(f"{'':>12} {'steps/s':>9} {'steps/CPU-s':>12} {'return':>7}")
  rows = {
    "jaxseq": lambda: ours(arguments.steps, arguments.action),
    "sb3-contrib": lambda: theirs(arguments.steps, arguments.processes),
  }
  for name, run in rows.items():
    rate, per_cpu, reached = run()
    print(f"{name:>12} {rate:9,.0f} {per_cpu:12,.0f} {reached:7.2f}")


if __name__ == "__main__":
  main()
