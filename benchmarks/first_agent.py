r"""Draws the learning curve of the agent in the README.

python -m benchmarks.first_agent [docs/first_agent.png]
"""

import pathlib
import sys

import jax
import numpy as np

from jaxseq.rl import evaluate
from jaxseq.rl.agents import ppo
from jaxseq.training import figures

PICTURE = pathlib.Path(__file__).parents[1] / "docs" / "first_agent.png"


def draw(path, env_steps, episode_return):
  """Draws mean returns over environment steps."""
  figure = figures.new(path, 5.5, 2.6)
  axes = figure.add_subplot()
  axes.plot(env_steps, episode_return, color="#1f77b4", lw=1.5)
  for level, name in ((1.0, "perfect"), (-0.5, "no memory")):
    axes.axhline(level, color="#888888", lw=0.8, ls="--")
    beside = axes.get_yaxis_transform()
    axes.text(1.01, level, name, va="center", fontsize=8, transform=beside)
  axes.set_xlabel("environment steps")
  axes.set_ylabel("mean return")
  axes.xaxis.set_major_formatter(lambda x, _: f"{x:,.0f}")
  figures.lines(axes, "y")
  figures.save(figure, path)


def main():
  config = ppo.Config(env_id="RepeatPreviousEasy", total_steps=100_000)
  runner = ppo.init(config, jax.random.key(0))
  runner, metrics = ppo.train(config, runner, config.num_updates)
  scores = evaluate.evaluate(config, runner.variables, jax.random.key(1))
  print(scores["mean_return"])
  path = sys.argv[1] if len(sys.argv) > 1 else PICTURE
  draw(path, *(np.asarray(metrics[x]) for x in ("env_steps", "episode_return")))


if __name__ == "__main__":
  main()
