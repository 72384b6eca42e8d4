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
from jaxseq.tasks import sizes
from jaxseq.training import configuration

# Options that differ from the loader's defaults, by kind of data.
_OPTIONS: dict[str, dict[str, Any]] = {
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
  task, _, data = variant.partition(".")
  fields: dict[str, Any] = {}
  # Fields not set here follow from the size of the data.
  stack: dict[str, Any] = {}
  if data == "text_files":
    options = own_data.text()
  elif data in ("npz", "ts"):
    options = {"path": f"data.{data}", **own_data.SERIES}
  else:
    options = own_data.of_loader(data, **_OPTIONS.get(data, {}))
  if task == "forecast":
    fields = {
      "input_length": None,
      "period": None,
      "from_season": True,
      "valid_windows": sizes.VALID_WINDOWS,
      "horizons": (24,),
      "batch_size": 32,
      "chunks_per_evaluation": 1,
    }
    stack = {"norm": "layer"}
  elif task == "language_model":
    # The validation part is long.
    fields = {"num_seeds": 1, "length": 128, "chunks_per_evaluation": 5}
    if data == "text_files":
      fields["jump_every"] = 8
    stack = {"d_model": 192, "num_layers": 3, "dropout": 0.0}
  elif task == "events":
    fields = {"chunks_per_evaluation": 1, "from_shares": True}
  elif task == "recommend":
    fields = {"from_ease": True}
  elif task == "segmentation":
    fields = {"batch_size": 2}
    stack = {"d_model": 32, "num_layers": 1, "dropout": 0.2}
  elif task == "temporal_graph":
    # Nodes are encoded and ranked by learned vectors, event by event.
    vectors = {"message": "vectors", "target": "vectors", "score": "dot"}
    graph = {**vectors, "run": "exact"}
    fields = {"batch_size": 200, "graph": graph, "loss": "full"}
    stack = {"d_model": 32, "num_layers": 1, "dropout": 0.0}
  elif task == "masked_language":
    # Two layers are needed to find which letters belong together.
    stack = {"d_model": 64, "num_layers": 2, "dropout": 0.0}
  elif task == "pictures":
    fields = {"levels": 16, "context": 2}
  poolings = {"classify": "mean", "forecast": "last"}
  pooling = {"pooling": poolings[task]} if task in poolings else {}
  names = ("mamba",) if task == "language_model" else ("s5", "gru")
  # Masked letters are predicted from both sides.
  both = {"bidirectional": True} if task == "masked_language" else {}
  by_size = "d_model" not in stack
  kind = importlib.import_module(lines.LINES[task].body).Config
  return kind(
    data=data,
    data_options=options,
    network={"stack": stack, **pooling},
    optimizer={"warmup_steps": 50, **({} if by_size else _RATE)},
    num_updates=1500,
    early_stopping=None,
    by_size=by_size,
    arms={
      name: {
        "network": {
          "stack": {"mixer": name, **mixers.traits(name).block, **both}
        }
      }
      for name in names
    },
    **{"batch_size": 16, "chunks_per_evaluation": 2, **fields},
  )
