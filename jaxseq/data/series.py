"""Sets of the UCR and UEA archives that ship inside aeon and sktime.

Only the packages' data files are read; the packages are not imported.
"""

import functools
import pathlib

from jaxseq.data import datasets
from jaxseq.data import packages
from jaxseq.data.files import uea

# Name here: problem name, which is that of its folder and files.
PROBLEMS = {
  "acsf1": "ACSF1",
  "arrow_head": "ArrowHead",
  "basic_motions": "BasicMotions",
  "cardano_sentiment": "CardanoSentiment",
  "covid_3month": "Covid3Month",
  "gunpoint": "GunPoint",
  "italy_power_demand": "ItalyPowerDemand",
  "japanese_vowels": "JapaneseVowels",
  "osuleaf": "OSULeaf",
  "pickup_gesture": "PickupGestureWiimoteZ",
  "plaid": "PLAID",
  "tecator": "Tecator",
  "unit_test": "UnitTest",
}
_PACKAGES = ("aeon", "sktime")
_SKTIME_ONLY = ("plaid", "tecator")


def _find(problem: str, where: tuple[str, ...]) -> pathlib.Path:
  """Returns the folder of a problem inside one of the packages."""
  training = packages.find(
    problem, f"datasets/data/{problem}/{problem}_TRAIN.ts", *where
  )
  return training.parent


def load(
  problem: str,
  seed: int = 0,
  normalize: bool = True,
  valid_fraction: float = 0.0,
) -> datasets.Splits:
  """Loads a set of the UCR and UEA archives.

  Args:
    problem: a key of `PROBLEMS`.
    seed: seed of the choice of validation cases.
    normalize: whether each channel is shifted and scaled to mean 0 and standard
      deviation 1 over all training values.
    valid_fraction: share of each class of the training cases that is for
      validation; classification only.

  Returns:
    The splits, see `files.uea.load`.

  Raises:
    ValueError: if a name or number is out of range.
    MissingData: if no package with the set is installed.
  """
  if problem not in PROBLEMS:
    raise ValueError(
      f"problem must be one of {', '.join(PROBLEMS)}; got {problem!r}."
    )
  where = ("sktime",) if problem in _SKTIME_ONLY else _PACKAGES
  name = PROBLEMS[problem]
  folder = _find(name, where)
  return uea.load(
    folder / f"{name}_TRAIN.ts",
    folder / f"{name}_TEST.ts",
    seed,
    normalize,
    valid_fraction,
  )


def __getattr__(name: str) -> functools.partial:
  """The loader of each problem under its own name, for the registry."""
  if name in PROBLEMS:
    return functools.partial(load, name)
  raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
