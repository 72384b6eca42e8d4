"""Sets of the UCR and UEA archives that ship inside aeon and sktime.

Only the packages' data files are read; the packages are not imported.
"""

import functools

from jaxseq.data import datasets
from jaxseq.data import missing as missing_values
from jaxseq.data import packages
from jaxseq.data.files import uea

_PACKAGES = ("aeon", "sktime")
_SKTIME_ONLY = ("PLAID", "Tecator")


def load(
  problem: str,
  seed: int = 0,
  normalize: bool = True,
  valid_fraction: float = 0.0,
  missing: missing_values.Missing = "refuse",
) -> datasets.Splits:
  """Loads a set of the UCR and UEA archives.

  Args:
    problem: its name in the archives, which is that of its folder and files,
      such as "GunPoint".
    seed: seed of the choice of validation cases.
    normalize: whether each channel is shifted and scaled to mean 0 and standard
      deviation 1 over all training values.
    valid_fraction: share of each class of the training cases that is for
      validation; classification only.
    missing: what becomes of missing values, see `data.missing`.

  Returns:
    The splits, see `files.uea.load`.

  Raises:
    ValueError: if a name or number is out of range.
    MissingData: if no package with the set is installed.
  """
  where = ("sktime",) if problem in _SKTIME_ONLY else _PACKAGES
  file = f"datasets/data/{problem}/{problem}_TRAIN.ts"
  train = packages.find(problem, file, *where)
  test = train.with_name(f"{problem}_TEST.ts")
  return uea.load(train, test, seed, normalize, valid_fraction, missing)


# Loaders for the registry.
acsf1 = functools.partial(load, "ACSF1")
arrow_head = functools.partial(load, "ArrowHead")
basic_motions = functools.partial(load, "BasicMotions")
cardano_sentiment = functools.partial(load, "CardanoSentiment")
covid_3month = functools.partial(load, "Covid3Month")
gunpoint = functools.partial(load, "GunPoint")
italy_power_demand = functools.partial(load, "ItalyPowerDemand")
japanese_vowels = functools.partial(load, "JapaneseVowels")
osuleaf = functools.partial(load, "OSULeaf")
pickup_gesture = functools.partial(load, "PickupGestureWiimoteZ")
plaid = functools.partial(load, "PLAID")
tecator = functools.partial(load, "Tecator")
unit_test = functools.partial(load, "UnitTest")
