"""Configs of `jaxseq train` for the user's own files.

    jaxseq train classify --data=walks.csv --workdir=runs/walks

is `--config=.../own_files.py:classify.table --config.data_options.path=...`;
with `--tiny` it is `classify.table.tiny`, a test run of a few updates.
"""

import importlib
from typing import Any

from jaxseq import mixers
from jaxseq import validate
from jaxseq.programs import own_data
from jaxseq.tasks import base
from jaxseq.tasks import lines
from jaxseq.training import configuration

# Options that differ from the loader's defaults, by kind of data.
_OPTIONS: dict[str, dict[str, object]] = {
  "table": {"id": "id", "label": "label"},
  "image_folders": {"path": "data"},
  "event_table": {"stream": "stream", "mark": "mark"},
  "forecast_table": {"missing": "refuse"},
  "token_file": {"path": "data.bin"},
}
VARIANTS = tuple(
  f"{task}.{data}"
  for task, line in lines.LINES.items()
  for data in line.data.values()
)
_TINY = ".tiny"
# Learning rate of networks with a fixed size for their task.
_RATE = {"learning_rate": 2e-3}


def _tiny(config):
  """Shrinks a config to run in seconds, to test whether a file can be used."""
  fields: dict[str, Any] = {}
  if hasattr(config, "horizons"):
    fields = {"horizons": (4,), "input_length": 24}
  elif hasattr(config, "length"):
    fields = {"length": 32}
  name = "gru" if "gru" in config.arms else next(iter(config.arms))
  return configuration.updated(
    config,
    num_updates=4,
    updates_per_chunk=2,
    chunks_per_evaluation=1,
    num_seeds=1,
    optimizer={"warmup_steps": 0},
    network={"stack": {"d_model": 8, "num_layers": 1}},
    arms={name: config.arms[name]},
    **fields,
  )


def get_config(variant: str = "classify.table") -> base.DataComparison:
  """Returns the config of TASK.DATA: two small networks, or one for texts."""
  if variant.endswith(_TINY):
    return _tiny(get_config(variant.removesuffix(_TINY)))
  validate.choice("variant", variant, VARIANTS)
  name, _, data = variant.partition(".")
  line = lines.LINES[name]
  if data == "text_files":
    options = own_data.text()
  elif data in ("npz", "ts"):
    options = {"path": f"data.{data}", **own_data.SERIES}
  else:
    options = own_data.of_loader(data, **_OPTIONS.get(data, {}))
  task = importlib.import_module(next(iter(line.kinds.values()))).TASK
  defaults = task.own_files
  by_size = "d_model" not in defaults.stack
  return importlib.import_module(line.body).Config(
    data=data,
    data_options=options,
    network={"stack": defaults.stack, **defaults.network},
    optimizer={"warmup_steps": 50, **({} if by_size else _RATE)},
    num_updates=1500,
    early_stopping=None,
    by_size=by_size,
    arms={
      mixer: {
        "network": {"stack": {"mixer": mixer, **mixers.traits(mixer).block}}
      }
      for mixer in defaults.mixers
    },
    **{
      "batch_size": 16,
      "chunks_per_evaluation": 2,
      **defaults.fields,
      **defaults.by_data.get(data, {}),
    },
  )
