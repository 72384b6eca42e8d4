"""Detection of numbers that are not finite, after each chunk, and reactions.

A loss, a gradient or a parameter that has become NaN or infinite stays so, and
further training is worthless. The compiled chunk reports for each parameter
whether it is finite (`flags`); a `Guard` looks at that and at the losses. The
run's `on_nonfinite` is the reaction:

    stop    seeds that have failed are named and have no results; where all
            have, the run ends before such a state is saved
    skip    an update that would do it is not applied, but counted
    ignore  nothing is looked at
"""

from collections.abc import Callable
from collections.abc import Collection
from collections.abc import Mapping
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxseq.training import errors
from jaxseq.training import per_seed
from jaxseq.types import PyTree

Action = errors.OnNonfinite

# By arm and seed, the number that is not finite, and since when.
Failed = Mapping[str, Mapping[int, str]]

# The name under which a chunk's metrics hold the flags.
FLAGS = "parameters_not_finite"
EXIT_CODE = 3

_ADVICE = (
  "try a smaller learning rate or a smaller norm of gradients, look for such "
  "numbers in the data, or leave out the updates that make them with "
  "--on_nonfinite=skip"
)


class NotFinite(errors.UserError):
  """Runs have numbers that are not finite.

  Attributes:
    failed: by arm and seed, what they are, and since when.
  """

  exit_code = EXIT_CODE

  def __init__(self, failed: Failed):
    super().__init__("; ".join([*sentences(failed), _ADVICE]))
    self.failed = failed


def sentences(failed: Failed) -> list[str]:
  """Returns a sentence for each arm and all its seeds that failed alike."""
  texts = []
  for arm, seeds in failed.items():
    alike: dict[str, list[int]] = {}
    for seed, text in seeds.items():
      alike.setdefault(text, []).append(seed)
    for text, numbers in alike.items():
      noun = "seed" if len(numbers) == 1 else "seeds"
      texts.append(f"{arm}, {noun} {', '.join(map(str, numbers))}: {text}")
  return texts


def flags(tree: PyTree) -> jax.Array:
  """Returns for each leaf whether any of its numbers is not finite.

  (leaves,) bool, in the order of `jax.tree.leaves`; leaves without floats count
  as finite.
  """

  def whole(leaf):
    if not jnp.issubdtype(leaf.dtype, jnp.inexact):
      return jnp.ones((), bool)
    return jnp.isfinite(leaf).all()

  leaves = [whole(leaf) for leaf in jax.tree.leaves(tree)]
  # Negated at once: an operation on each leaf's flag is one more kernel each.
  return ~jnp.stack(leaves) if leaves else jnp.zeros((0,), bool)


def paths(tree: PyTree) -> list[str]:
  """Returns the paths of the leaves, in the order of `flags`."""
  pairs = jax.tree_util.tree_leaves_with_path(tree)
  keystr = jax.tree_util.keystr
  return [keystr(path, simple=True, separator="/") for path, _ in pairs]


def parameters(names: Sequence[str], broken: np.ndarray) -> str:
  """Names the parameters that are not finite, by `paths` and `flags`."""
  wrong = [name for name, bad in zip(names, broken) if bad]
  if len(wrong) == len(names):
    return "all parameters"
  more = f" and {len(wrong) - 1} more" if len(wrong) > 1 else ""
  return f"the parameters {wrong[0]}{more}"


class Guard:
  """Looks for numbers that are not finite in what chunks return.

  Args:
    arms: names of the arms that are trained as one program.
    num_seeds: of each arm; metrics have them behind one another, arm by arm.
    trained: from a state to the pytree whose `flags` chunks return.
    broken: from a state to these flags (runs, leaves).
    losses: names of the metrics that must be finite; "skip" ignores them.
    stopped: from a state to the runs (runs,) that are no longer checked, as
      their best variables are already kept.
    goes_back: whether a run resumes from an earlier checkpoint, the pinned one,
      if seeds have failed in the newest and not in the pinned one.
  """

  def __init__(
    self,
    arms: Sequence[str],
    num_seeds: int,
    trained: Callable[[Any], PyTree],
    broken: Callable[[Any], Any],
    losses: Sequence[str] = (),
    stopped: Callable[[Any], np.ndarray] | None = None,
    goes_back: bool = False,
  ):
    self._stopped = stopped or (lambda state: np.zeros(len(self._runs), bool))
    self._runs = [(arm, seed) for arm in arms for seed in range(num_seeds)]
    self._trained = trained
    self._broken = broken
    self._losses = tuple(losses)
    self.goes_back = goes_back
    self.failed: dict[str, dict[int, str]] = {}

  @property
  def all_failed(self) -> bool:
    """True if no seed of any arm is left."""
    return sum(map(len, self.failed.values())) == len(self._runs)

  def take(
    self, metrics: Mapping[str, object]
  ) -> tuple[dict[str, Any], np.ndarray]:
    """Takes the flags (runs, leaves) out of a chunk's metrics; returns both."""
    rest = dict(metrics)
    broken = np.asarray(rest.pop(FLAGS))
    return rest, broken.reshape(len(self._runs), -1)

  def restored(self, state: PyTree, step: int) -> Failed:
    """Looks at a state of a checkpoint's step; returns what has failed.

    `failed` has this alone.
    """
    self.failed = {}
    broken = np.asarray(jax.device_get(self._broken(state)))
    text = f"the checkpoint of step {step:,} has numbers that are not finite"
    for run in np.flatnonzero(broken.any(axis=1) & ~self._stopped(state)):
      arm, seed = self._runs[run]
      self.failed.setdefault(arm, {})[seed] = text
    return self.failed

  def look(
    self,
    state: PyTree,
    rows: Sequence[tuple[int, Mapping[str, object]]],
    broken: np.ndarray,
    before: int,
    saved: int | None,
  ) -> Failed:
    """Looks at a chunk; returns its failures, and keeps them in `failed`.

    Args:
      state: after the chunk.
      rows: the steps and metrics of the chunk.
      broken: its flags, from `take`.
      before: the step that the chunk began after.
      saved: step of the newest checkpoint.
    """
    new_failures: dict[str, dict[int, str]] = {}
    stopped = self._stopped(state)
    for i, (arm, seed) in enumerate(self._runs):
      if stopped[i] or seed in self.failed.get(arm, {}):
        continue
      wrong, since = self._losses_of(i, rows, before)
      if broken[i].any():
        names = paths(self._trained(state))
        wrong.append(parameters(names, broken[i]))
        since = before if since is None else since
      if wrong:
        last_save = "nothing had been saved before"
        if saved is not None:
          last_save = f"the last checkpoint before is that of step {saved:,}"
        text = (
          f"after step {since:,} numbers are not finite, of "
          f"{' and of '.join(wrong)}; {last_save}"
        )
        for record in (self.failed, new_failures):
          record.setdefault(arm, {})[seed] = text
    return new_failures

  def _losses_of(self, run, rows, before):
    """Returns which losses of a run are not finite, and the step before."""
    wrong, since = [], None
    for step, row in rows:
      for name in self._losses:
        if name in row and name not in wrong:
          values = np.asarray(row[name], float).reshape(-1)
          # A plain number is that of all runs.
          if not np.isfinite(values[run if values.size > 1 else 0]):
            wrong.append(name)
            since = before if since is None else since
      before = step
    return wrong, since


def replace(state: PyTree, seeds: Collection[int], num_seeds: int) -> Any:
  """Returns a state in which failed seeds are copies of a healthy one.

  Measurements that need finite numbers can then measure the healthy seeds, of
  which there must be at least one.
  """
  if not seeds:
    return state
  left = next(i for i in range(num_seeds) if i not in seeds)
  order = np.array([left if i in seeds else i for i in range(num_seeds)])
  return jax.jit(lambda tree: jax.tree.map(lambda x: x[order], tree))(state)


def hide(result: object, seeds: Collection[int]) -> Any:
  """Returns results in which `PerSeed` lists have NaN for some seeds."""
  if isinstance(result, Mapping):
    return {k: hide(value, seeds) for k, value in result.items()}
  if not isinstance(result, per_seed.PerSeed):
    return result
  hidden = (_nan(x) if i in seeds else x for i, x in enumerate(result))
  return per_seed.PerSeed(hidden)


def _nan(value):
  if isinstance(value, list):
    return [_nan(item) for item in value]
  return float("nan") if isinstance(value, (int, float)) else value
