"""Partly hidden environments, by the ids "view/NAME"."""

from typing import Any

from jaxseq.rl import mixtures
from jaxseq.rl import wrappers
from jaxseq.rl.envs import protocol
from jaxseq.rl.envs import registry


def make(
  name: str,
  *,
  shown: tuple[int, ...] | None = None,
  noise: float = 0.0,
  delay: int = 0,
  flicker: float = 0.0,
  **options: Any,
) -> protocol.Env:
  """Makes an environment and hides parts of it: "view/NAME" of `envs.make`.

  Args:
    name: an id that `envs.make` accepts.
    shown: indices of the visible numbers of an observation, such as positions
      without velocities; None for all. See `wrappers.Shown`.
    noise: standard deviation of noise, see `wrappers.Noise`.
    delay: steps by which observations are delayed, see `wrappers.Delay`.
    flicker: probability of hiding an observation, see `wrappers.Flicker`.
    **options: of the environment.

  Raises:
    ValueError: an option is unknown, or does not fit the environment.
  """
  try:
    env, _ = registry.make(name, **options)
  except ValueError as error:
    if options:
      options_of_view = (
        "a view's own options are shown, noise, delay and flicker"
      )
      said = str(error).rstrip(".")
      raise ValueError(f"{said} ({options_of_view}).") from error
    raise

  hiding = {
    "shown": (wrappers.Shown, shown, None),
    "noise": (wrappers.Noise, noise, 0),
    "delay": (wrappers.Delay, delay, 0),
    "flicker": (wrappers.Flicker, flicker, 0),
  }

  def view(env):
    for option, (wrapper, value, nothing) in hiding.items():
      if value == nothing:
        continue
      try:
        env = wrapper(env, tuple(value) if option == "shown" else value)
      except (TypeError, ValueError) as error:
        # A wrapper has different names for these arguments.
        said = str(error).partition(": ")[2] or f"got {value!r}: {error}"
        raise ValueError(f"{option} of view/{name}: {said}") from error
    return env

  return mixtures.wrap(env, view)
