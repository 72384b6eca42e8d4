"""Films of the trained policies of a comparison, in its directory."""

import pathlib

from absl import logging
import jax

from jaxseq._types import PyTree
from jaxseq.rl import rendering
from jaxseq.rl import rl_arms
from jaxseq.training.comparison import arms
from jaxseq.training.devices import placement
from jaxseq.training.devices import processes


def write(
  config: rl_arms.Config,
  directory: pathlib.Path,
  name: str,
  variables: PyTree,
) -> list[rendering.Film]:
  """Plays an episode with an arm's first seed, and writes it as a GIF.

  Args:
    config: the comparison.
    directory: where `episode_NAME.gif` is to be.
    name: the arm.
    variables: of all its seeds, leading axis num_seeds.

  Returns:
    What was played, of a mixture an episode of each environment. Of several
    processes only the first plays; the others return no film. If no GIF can be
    drawn, for lack of matplotlib or pillow, a warning is logged instead.
  """
  variables = placement.gather(config.mesh, variables)
  if not processes.is_first():
    return []
  films = rendering.film(
    rl_arms.agent_config(config, name),
    jax.tree.map(lambda leaf: leaf[0], variables),
    arms.split_keys(config)[1][0],
    greedy=config.evaluation_greedy,
  )
  path = directory / f"episode_{name}.gif"
  try:
    rendering.write_gif(path, rendering.frames(films))
  except ModuleNotFoundError as error:
    logging.warning(
      "%s is not installed: %s is not drawn (pip install 'jaxseq[log]').",
      error.name,
      path,
    )
  return films
