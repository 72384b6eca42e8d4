"""Rewards of answers by a user's function, loaded by its name.

    reward = named_rewards.load("my_module:score")
    rewards = reward(prompts, tokens, mask)  # also in compiled code

The function is called with lists of texts by keyword, as `score(prompts=[...],
completions=[...])`, and returns one number for each, as in TRL.
"""

from collections.abc import Callable
from collections.abc import Iterable
import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxseq.training import errors
from jaxseq.training.comparison import arms


@dataclasses.dataclass(frozen=True)
class Reward:
  """A function of texts that rewards answers of bytes.

  Attributes:
    name: "package.module:name" of the function, for messages.
    function: takes `prompts` and `completions`, lists of texts of the same
      length; it returns a finite number for each.
  """

  name: str
  function: Callable[..., Iterable[Any]]

  def __call__(
    self, prompts: jax.Array, tokens: jax.Array, mask: jax.Array
  ) -> jax.Array:
    """Returns the rewards of answers, (rows,) float32.

    The host is called once, under `vmap` with the rows of all members.

    Args:
      prompts: (rows, time) bytes.
      tokens: (rows, length) bytes.
      mask: of the same shape, False in the padding.
    """
    return jax.pure_callback(
      self.score,
      jax.ShapeDtypeStruct(prompts.shape[:1], jnp.float32),
      *(prompts, tokens, mask),
      vmap_method="broadcast_all",
    )

  def score(self, prompts: Any, tokens: Any, mask: Any) -> np.ndarray:
    """Returns the rewards of arrays (*batch, rows, ...) of the host.

    Raises:
      UserError: (a ValueError) if the function returns anything but a finite
        number for each answer.
    """
    prompts, tokens, mask = map(np.asarray, (prompts, tokens, mask))
    shape = tokens.shape[:-1]
    asked = prompts.reshape(-1, prompts.shape[-1])
    rows = zip(*(x.reshape(-1, x.shape[-1]) for x in (tokens, mask)))
    answers = [_text(row[there]) for row, there in rows]
    result = self.function(prompts=list(map(_text, asked)), completions=answers)
    try:
      rewards = np.asarray(result, np.float64)
    except (TypeError, ValueError) as error:
      self._refuse(f"{result!r:.80}", error)
    if rewards.shape != (len(answers),):
      got = (
        f"{len(rewards)} results" if rewards.ndim == 1 else f"{result!r:.80}"
      )
      self._refuse(f"{got} for {len(answers)} answers")
    # Also catches numbers that overflow float32.
    wrong = np.flatnonzero(~(np.abs(rewards) <= np.finfo(np.float32).max))
    if wrong.size:
      first = wrong[0]
      self._refuse(f"{rewards[first]} for the answer {answers[first]!r}")
    return rewards.astype(np.float32).reshape(shape)

  def _refuse(self, got, cause=None):
    """Raises an error about the function's results."""
    expected = "a list with one finite number for each answer"
    message = f"reward: got {got} of {self.name}, expected {expected}."
    raise errors.UserError(message) from cause


def load(path: str) -> Reward:
  """Loads a function by its name.

  Args:
    path: "package.module:name".

  Raises:
    ValueError: if there is no such module or function.
  """
  return Reward(path, arms.named_function("reward", path))


def _text(tokens):
  """The text of bytes."""
  return bytes(tokens.astype(np.uint8)).decode(errors="replace")
