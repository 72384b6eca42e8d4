"""The hdf5 files of D4RL: recorded steps of MuJoCo tasks.

Sources: arXiv 2004.07219; how episodes are cut is that of arXiv 2106.01345
(Decision Transformer).
"""

import os
import pathlib

import numpy as np

from jaxseq.data import trajectories
from jaxseq.data import types

# Returns of a random player and of an expert, which stand for 0 and 100.
REFERENCE = {
  "ant": (-325.6, 3879.7),
  "halfcheetah": (-280.178953, 12135.0),
  "hopper": (-20.272305, 3234.3),
  "walker2d": (1.629008, 4592.3),
}
_ARRAYS = ("observations", "actions", "rewards", "terminals")


def normalized_score(task: str, returns: np.ndarray | float) -> np.ndarray:
  """Returns scores between those of a random player, 0, and an expert, 100.

  Args:
    task: a key of `REFERENCE`, or a name that starts with it and a hyphen, such
      as "hopper-medium-v2".
    returns: returns of episodes.

  Returns:
    The scores, of the shape of returns.

  Raises:
    ValueError: if the task is not known.
  """
  key = task.split("-")[0].lower()
  if key not in REFERENCE:
    raise ValueError(
      f"task must be one of {', '.join(REFERENCE)}; got {task!r}."
    )
  low, high = REFERENCE[key]
  return 100 * (np.asarray(returns) - low) / (high - low)


def load(
  path: str | os.PathLike, limit: int = 1000
) -> trajectories.Trajectories:
  """Loads a file of D4RL.

  Args:
    path: the hdf5 file.
    limit: steps after which an episode ends, for old files without `timeouts`.

  Returns:
    The complete episodes, in their order.

  Raises:
    ValueError: if the file is damaged or lacks an array.
    MissingData: if h5py is not installed or there is no such file.
  """
  path = pathlib.Path(path)
  try:
    import h5py
  except ImportError as error:
    raise types.MissingData(
      "the files of D4RL are read by h5py: pip install 'h5py'."
    ) from error
  if not path.is_file():
    raise types.MissingData(
      f"{path} is not a file: put D4RL's hdf5 file there."
    )
  try:
    with h5py.File(path, "r") as file:
      absent = [name for name in _ARRAYS if name not in file]
      if absent:
        raise ValueError(f"it has no array {absent[0]!r}")
      observations, actions, rewards, terminals = (
        file[name][...] for name in _ARRAYS
      )
      timeouts = file["timeouts"][...] if "timeouts" in file else None
  except (OSError, ValueError) as error:
    raise ValueError(f"{path} is no file of D4RL: {error}.") from error
  dones = terminals.astype(bool)
  if timeouts is not None:
    dones |= timeouts.astype(bool)
  else:
    dones = _limited(dones, limit)
  return trajectories.from_flat(observations, actions, rewards, dones)


def _limited(dones, limit):
  """Ends episodes after a number of steps."""
  if limit < 1:
    raise ValueError(f"limit must be at least 1; got {limit}.")
  dones = dones.copy()
  since = 0
  for step, done in enumerate(dones):
    since += 1
    if done or since == limit:
      dones[step], since = True, 0
  return dones
