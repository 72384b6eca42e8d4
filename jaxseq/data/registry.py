"""Names of the data sets, and `load`.

A loader is a function with keyword options that returns `Splits`; an option
called `seed` receives the seed given to `load`. Options that loaders share can
be a `TypedDict` (`**options: Unpack[...]`). Your own loader is registered by
`register(name, "module:function")`.
"""

import dataclasses
import inspect
import typing
from typing import Any

from jaxseq import _registry
from jaxseq import validate
from jaxseq.data import checks
from jaxseq.data import datasets
from jaxseq.data.sources import registry as kinds

SETS = _registry.Registry(
  "data",
  {
    "acsf1": "jaxseq.data.ts_series:acsf1",
    "arrays": "jaxseq.data.arrays:load",
    "arrow_head": "jaxseq.data.ts_series:arrow_head",
    "autots_hourly": "jaxseq.data.forecast_windows:autots_hourly",
    "basic_motions": "jaxseq.data.ts_series:basic_motions",
    "cardano_sentiment": "jaxseq.data.ts_series:cardano_sentiment",
    "chats": "jaxseq.data.chat_sets:chats",
    "covid_3month": "jaxseq.data.ts_series:covid_3month",
    "digits": "jaxseq.data.images:digits",
    "drifting_nodes": "jaxseq.data.graph_generators:drifting_nodes",
    "ecg": "jaxseq.data.factors:ecg",
    "ett": "jaxseq.data.files.ett:load",
    "event_lists": "jaxseq.data.sources.events:load_lists",
    "event_log": "jaxseq.data.sources.logs:load",
    "event_table": "jaxseq.data.sources.events:load",
    "fashion": "jaxseq.data.images:fashion",
    "followers": "jaxseq.data.graph_generators:followers",
    "forecast_table": "jaxseq.data.forecast_tables:load",
    "graph_table": "jaxseq.data.event_graphs:load",
    "gunpoint": "jaxseq.data.ts_series:gunpoint",
    "hawkes": "jaxseq.data.point_processes:hawkes",
    "heartbeat": "jaxseq.data.factors:heartbeat",
    "image_folders": "jaxseq.data.sources.images:load",
    "interaction_table": "jaxseq.data.sources.interactions:load",
    "italy_power_demand": "jaxseq.data.ts_series:italy_power_demand",
    "item_chains": "jaxseq.data.sources.interactions:chains",
    "japanese_vowels": "jaxseq.data.ts_series:japanese_vowels",
    "kjv": "jaxseq.data.text:kjv",
    "kjv_chapters": "jaxseq.data.sources.paragraphs:kjv_chapters",
    "letters": "jaxseq.data.sources.letters:load",
    "loans": "jaxseq.data.sources.logs:loans",
    "ml_100k": "jaxseq.data.files.movielens:ml_100k",
    "ml_100k_graph": "jaxseq.data.event_graphs:ml_100k_graph",
    "ml_1m": "jaxseq.data.files.movielens:ml_1m",
    "mnist1d": "jaxseq.data.mnist1d:load",
    "mnist_subset": "jaxseq.data.images:mnist_subset",
    "npz": "jaxseq.data.npz_series:load",
    "osuleaf": "jaxseq.data.ts_series:osuleaf",
    "paragraphs": "jaxseq.data.sources.paragraphs:load",
    "pickup_gesture": "jaxseq.data.ts_series:pickup_gesture",
    "plaid": "jaxseq.data.ts_series:plaid",
    "poisson": "jaxseq.data.point_processes:poisson",
    "preferences": "jaxseq.data.chat_sets:preferences",
    "python_source": "jaxseq.data.text:python_source",
    "renewal": "jaxseq.data.point_processes:renewal",
    "seasonal": "jaxseq.data.forecast_windows:seasonal",
    "seasonal_factors": "jaxseq.data.factors:seasonal",
    "self_correcting": "jaxseq.data.point_processes:self_correcting",
    "sum_preferences": "jaxseq.data.chat_sets:sum_preferences",
    "sums": "jaxseq.data.chat_sets:sums",
    "table": "jaxseq.data.series_table:load",
    "tecator": "jaxseq.data.ts_series:tecator",
    "text_files": "jaxseq.data.sources.text:load",
    "tgb_seq": "jaxseq.data.event_graphs:tgb_seq",
    "token_file": "jaxseq.data.token_text:load",
    "ts": "jaxseq.data.ts_series:load",
    "uea": "jaxseq.data.ts_series:archive",
    "unit_test": "jaxseq.data.ts_series:unit_test",
  },
  written="registry.register",
)

names = SETS.names
loader = SETS.get
register = SETS.register


def load(name: str, seed: int | None = None, **options: Any) -> datasets.Splits:
  """Loads or generates a data set.

  Args:
    name: one of `names()`.
    seed: seed of random choices: the examples of a generated set, the split of
      a set without its own. Equal seeds give equal sets. None is the seed of
      the published set, if there is one, and 0 otherwise.
    **options: options of the set's loader.

  Returns:
    The splits after `checks`: finite, in range, and of fitting shapes.
    info.preparation prepares other data as such inputs.

  Raises:
    ValueError: if there is no such set or option, a value is out of range, or
      nothing can be learned from the data.
    MissingData: if the package or file with the data is missing.
  """
  function = loader(name)
  needs = _options(function)
  noun = f"options of the data set {name!r}"
  for option in options:
    validate.choice(noun, option, [key for key in needs if key != "seed"])
  missing = [
    key for key, needed in needs.items() if needed and key not in options
  ]
  if missing:
    raise ValueError(
      f"{noun}: got no {', '.join(missing)}, expected the place of its files."
    )
  if "seed" in needs and seed is not None:
    options["seed"] = seed
  # A loader that maps files has already checked their values if requested.
  splits = checks.check_splits(function(**options), name, maps=False)
  if splits.info.preparation is not None:
    return splits
  source = kinds.derive(splits)
  info = dataclasses.replace(splits.info, preparation=source)
  return splits._replace(info=info)


def annotations(name: str) -> dict[str, Any]:
  """Returns the type annotations of a set's options, by name."""
  out = {}
  for option, hint in typing.get_type_hints(loader(name)).items():
    shared = typing.get_origin(hint) is typing.Unpack
    out |= typing.get_type_hints(hint.__args__[0]) if shared else {option: hint}
  return out


def _options(function):
  """Returns a loader's options by name, True for required ones."""
  options = {}
  for name, option in inspect.signature(function).parameters.items():
    if option.kind is option.VAR_KEYWORD:
      # The options of a `TypedDict`, which the loader passes on.
      for shared in typing.get_args(option.annotation):
        options |= dict.fromkeys(shared.__annotations__, False)
    else:
      options[name] = option.default is option.empty
  return options
