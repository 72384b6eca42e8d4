"""The configs that `jaxseq train` has for your own files.

    jaxseq train classify --data=walks.csv --workdir=runs/walks

is `--config=.../own_files.py:classify.table --config.data_options.path=...`.
"""

import ml_collections

from jaxseq import _validate
from jaxseq import mixers
from jaxseq.programs import own_data

_SERIES = {
  "table": own_data.series(id="id", label="label"),
  "npz": own_data.arrays(path="data.npz"),
  "ts": own_data.arrays(path="data.ts"),
  "image_folders": own_data.images(),
}
VARIANTS = (
  *(f"classify.{data}" for data in _SERIES),
  "events.event_table",
  "forecast.forecast_table",
  "language_model.text_files",
)


def get_config(variant: str = VARIANTS[0]) -> ml_collections.ConfigDict:
  """Returns the config of TASK.DATA: two small networks, or one for texts."""
  _validate.choice("variant", variant, VARIANTS)
  task, _, data = variant.partition(".")
  stack = {"d_model": 64, "num_layers": 2}
  config = ml_collections.ConfigDict(
    {
      "data": data,
      "network": {"stack": stack},
      "optimizer": {"learning_rate": 2e-3, "warmup_steps": 50},
      "num_updates": 1500,
      "updates_per_chunk": 50,
      "chunks_per_evaluation": 5,
      "batch_size": 16,
    }
  )
  if task == "classify":
    config.data_options = _SERIES[data]
    config.network.pooling = "mean"
  elif task == "events":
    options = {"time": "time", "stream": "stream", "mark": "mark"}
    config.data_options = own_data.events(**options)
  elif task == "forecast":
    config.data_options = own_data.forecast()
    config.update(input_length=48, horizons=(24,), batch_size=32)
    config.network.pooling = "last"
    stack = {"norm": "layer", "dropout": 0.1}
    config.network.stack.update(stack)
  else:
    config.data_options = own_data.text()
    config.update(num_seeds=1, length=128, jump_every=8)
    config.network.stack.update({"d_model": 192, "num_layers": 3})
  names = ("mamba",) if task == "language_model" else ("s5", "gru")
  config.arms = {
    name: {"network": {"stack": {"mixer": name, **mixers.traits(name).block}}}
    for name in names
  }
  return config
