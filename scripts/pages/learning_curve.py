"""Draws the curve of README's agent: python -m scripts.pages.learning_curve.

It runs the block of README.md that trains an agent, a minute or two on a core,
and draws its metrics as docs/learning_curve.png.
"""

import pathlib
import re

ROOT = pathlib.Path(__file__).resolve().parents[2]
PICTURE = ROOT / "docs" / "learning_curve.png"


def agent() -> str:
  """Returns the code of the block that trains an agent."""
  text = (ROOT / "README.md").read_text(encoding="utf-8")
  blocks = re.findall(r"^```python\n(.*?)^```", text, re.M | re.S)
  (block,) = (block for block in blocks if "ppo.train" in block)
  return block


def main() -> None:
  """Trains the agent and draws its returns."""
  from jaxseq.training import plots

  names = {}
  exec(compile(agent(), "README.md", "exec"), names)
  metrics = names["metrics"]
  plots.learning_curve(
    PICTURE,
    {"GRU": (metrics["env_steps"], metrics["episode_return"])},
    xlabel="steps in the environment",
    ylabel="return",
    title="RepeatPreviousEasy",
    references={"perfect": 1.0, "no memory": -0.5},
  )


if __name__ == "__main__":
  main()
