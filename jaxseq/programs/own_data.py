"""Options of the loaders of your own data, for flags to set.

Each is a field of `config.data_options`; one without a value is not used.
"""

from ml_collections import config_dict


def series(**options: object) -> dict[str, object]:
  """Returns the options of `jaxseq.data.series_table.load`."""
  return {
    "path": "data.csv",
    "layout": "long",
    **_open("id", "time", "label", "channels", "ignore", "delimiter", "labels"),
    **_open("split", "group", "valid_path", "test_path"),
    "window": config_dict.placeholder(int),
    "target": "auto",
    "by_time": False,
    "valid_fraction": 0.1,
    "test_fraction": 0.2,
    "normalize": True,
    "missing": "refuse",
    "gaps": "channel",
    **options,
  }


def arrays(**options: object) -> dict[str, object]:
  """Returns the options that `npz_series.load` and `ts_series.load` share."""
  return {
    "valid_fraction": 0.1,
    "test_fraction": 0.2,
    "normalize": True,
    "missing": "refuse",
    **options,
  }


def forecast(**options: object) -> dict[str, object]:
  """Returns the options of `jaxseq.data.forecast_table.load`."""
  return {
    "path": "data.csv",
    **_open("time", "channels", "ignore", "delimiter"),
    **_open("valid_from", "test_from"),
    "steps": "refuse",
    "valid_fraction": 0.1,
    "test_fraction": 0.2,
    "missing": "refuse",
    **options,
  }


def events(**options: object) -> dict[str, object]:
  """Returns the options of `jaxseq.data.sources.events.load`."""
  return {
    "path": "data.csv",
    **_open("time", "stream", "mark", "delimiter", "start", "split", "unit"),
    "horizon": config_dict.placeholder(float),
    "window": config_dict.placeholder(float),
    "ties": "refuse",
    "by_time": False,
    "valid_fraction": 0.1,
    "test_fraction": 0.2,
    **options,
  }


def text(**options: object) -> dict[str, object]:
  """Returns the options of `jaxseq.data.sources.text.load`."""
  return {
    "path": "data.txt",
    "pattern": "**/*",
    "documents": False,
    **_open("tokenizer"),
    "valid_fraction": 0.05,
    "test_fraction": 0.05,
    **options,
  }


def images(**options: object) -> dict[str, object]:
  """Returns the options of `jaxseq.data.sources.images.load`."""
  return {
    "path": "data",
    "order": "row",
    "color": False,
    "height": config_dict.placeholder(int),
    "width": config_dict.placeholder(int),
    "valid_fraction": 0.1,
    "test_fraction": 0.2,
    **options,
  }


def _open(*names: str) -> dict[str, object]:
  """Returns options without a value, which take a string."""
  return {name: config_dict.placeholder(str) for name in names}
