r"""The Long Range Arena with S5, as published.

    python -m experiments.classify --config=configs/classify/lra.py:listops \
      --workdir=runs/lra_listops

The argument is "listops" (length 2,000), "pathfinder" (1,024) or "pathx"
(16,384), whose data are generated, which takes minutes for ListOps and hours
for the images; or "text" (4,096), "retrieval" (two sequences of 4,000) or
"image" (1,024), whose files are not part of this project:
--config.data_options.path=DIR is the folder of the film reviews aclImdb, of the
Long Range Arena's new_aan_pairs.train.tsv, .eval.tsv and .test.tsv, or of
CIFAR-10 in its binary version.

Networks and optimizers are those of arXiv:2208.04933 and its code, and their
test accuracies are the dashed line, from 0.6215 (ListOps) to 0.9858 (Path-X).
In Retrieval, one network encodes both papers, and a hidden layer reads their
means a and b over time as [a, b, a - b, a * b]. A run takes hours to days on a
large GPU; we have not run any to its end, so no result is given.
"""

import dataclasses
from typing import Any

from configs import variants
from configs.classify import _shared
import experiments.lra  # noqa: F401
from jaxseq.programs import classify

# Layers, width, states, blocks; mixer, network and optimizer options; batch
# size, epochs and number of training examples.
_TASKS = {
  "listops": {
    "reference": 0.6215,
    "data": ("listops", {"size": "full"}),
    "mixer": {"ssm_size": 16, "blocks": 8, "c_init": "lecun_normal"},
    "stack": {"d_model": 128, "num_layers": 8, "activation": "half_glu2"},
    "ssm_learning_rate": 1e-3,
    "factor": 3.0,
    "weight_decay": 0.04,
    "s5_groups": "BfastandCdecay",
    "batch_size": 50,
    "epochs": 40,
    "examples": 96_000,
  },
  "text": {
    "reference": 0.8931,
    "data": ("lra_text", {"path": "data/aclImdb"}),
    "mixer": {"ssm_size": 192, "blocks": 12, "c_init": "lecun_normal"},
    "stack": {
      "d_model": 256,
      "num_layers": 6,
      "activation": "half_glu2",
      "dropout": 0.1,
    },
    "ssm_learning_rate": 1e-3,
    "factor": 4.0,
    "weight_decay": 0.07,
    "s5_groups": "standard",
    "dt_global": True,
    "batch_size": 50,
    "epochs": 35,
    "warmup_epochs": 0,
    "examples": 25_000,
  },
  "retrieval": {
    "reference": 0.914,
    "data": ("lra_retrieval", {"path": "data/tsv_data"}),
    "mixer": {"ssm_size": 256, "blocks": 16},
    "head_widths": (128,),
    "stack": {"d_model": 128, "num_layers": 6, "activation": "half_glu1"},
    "ssm_learning_rate": 1e-3,
    "factor": 2.0,
    "weight_decay": 0.05,
    "s5_groups": "standard",
    "dt_global": True,
    "batch_size": 32,
    "epochs": 20,
    "examples": 147_086,
  },
  "image": {
    "reference": 0.88,
    "data": ("cifar", {"path": "data/cifar-10-batches-bin"}),
    "mixer": {
      "ssm_size": 384,
      "blocks": 3,
      "c_init": "lecun_normal",
      "clip_eigs": True,
    },
    "stack": {
      "d_model": 512,
      "num_layers": 6,
      "activation": "half_glu1",
      "dropout": 0.1,
    },
    "ssm_learning_rate": 1e-3,
    "factor": 4.5,
    "weight_decay": 0.07,
    "s5_groups": "BfastandCdecay",
    "batch_size": 50,
    "epochs": 250,
    "examples": 45_000,
  },
  "pathfinder": {
    "reference": 0.9533,
    "data": (
      "pathfinder",
      {"size": 32, "train": 160_000, "valid": 20_000, "test": 20_000},
    ),
    "mixer": {"ssm_size": 256, "blocks": 8},
    "stack": {
      "d_model": 192,
      "num_layers": 6,
      "activation": "half_glu1",
      "dropout": 0.05,
    },
    "ssm_learning_rate": 9e-4,
    "factor": 5.0,
    "weight_decay": 0.03,
    "s5_groups": "standard",
    "batch_size": 64,
    "epochs": 200,
    "examples": 160_000,
  },
  "pathx": {
    "reference": 0.9858,
    "data": (
      "pathfinder",
      {"size": 128, "train": 160_000, "valid": 20_000, "test": 20_000},
    ),
    "mixer": {
      "ssm_size": 256,
      "blocks": 16,
      "c_init": "complex_normal",
      "dt_min": 1e-4,
    },
    "stack": {"d_model": 128, "num_layers": 6, "activation": "half_glu1"},
    "ssm_learning_rate": 6e-4,
    "factor": 3.0,
    "weight_decay": 0.06,
    "s5_groups": "BandCdecay",
    "batch_size": 32,
    "epochs": 75,
    "examples": 160_000,
  },
}


def _config(task: dict[str, Any]) -> classify.Config:
  """Returns the config of a task."""
  data, options = task["data"]
  updates_per_epoch = task["examples"] // task["batch_size"]
  return dataclasses.replace(
    _shared.base(data),
    data_options=options,
    num_seeds=1,
    num_updates=task["epochs"] * updates_per_epoch,
    updates_per_chunk=updates_per_epoch // 10,
    chunks_per_evaluation=10,
    batch_size=task["batch_size"],
    # The paper's code has no norm between the last layer and the pooling.
    network={
      "stack": {"norm": "batch", "final_norm": False, **task["stack"]},
      "pooling": "mean",
      "head_widths": task.get("head_widths", ()),
    },
    optimizer={
      "name": "s5",
      "schedule": "cosine",
      "learning_rate": task["factor"] * task["ssm_learning_rate"],
      "ssm_learning_rate": task["ssm_learning_rate"],
      "weight_decay": task["weight_decay"],
      "s5_groups": task["s5_groups"],
      "dt_global": task.get("dt_global", False),
      "warmup_steps": task.get("warmup_epochs", 1) * updates_per_epoch,
      "max_grad_norm": None,
    },
    references={"S5 (paper)": task["reference"]},
    arms={"s5": {"network": {"stack": _shared.s5_paper(**task["mixer"])}}},
  )


get_config = variants.Variants(
  **{name: _config(task) for name, task in _TASKS.items()}
)
