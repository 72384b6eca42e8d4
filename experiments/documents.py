r"""Next-byte prediction on documents of very different lengths, as planned.

    python -m experiments.documents --workdir=DIR \
      --config=configs/documents/python.py

Every update takes some whole documents. The planner (`jaxseq.planner`) chooses
which group of devices works on which of them; the loss and its gradient are
those of one document after the other, on any number of devices, a power of two,
of one process or several. Longer runs may be gone on with on other devices or
with another way of planning.

It ends with the bits per byte over all test documents, each read from a fresh
state, a table, `DIR/learning_curve.png` and `DIR/results.json`. The rows of
`DIR/ARM/metrics.jsonl` tell of every update its targets, its waves, its share
of padding, the plan's distance to its lower bound, and how many different
programs the run has needed so far. `--mode=evaluate` only scores the newest
checkpoints.
"""

from collections.abc import Mapping
import dataclasses
import pathlib
import time
from typing import Any

import jax
import ml_collections
import numpy as np

from jaxseq import data
from jaxseq.tasks import base
from jaxseq.tasks import document_plans
from jaxseq.tasks import documents
from jaxseq.tasks import language
from jaxseq.training import app
from jaxseq.training import errors
from jaxseq.training import planned
from jaxseq.training import scalars
from jaxseq.training.comparison import arms
from jaxseq.training.comparison import study
from jaxseq.training.devices import processes
from jaxseq.training.devices import seeds

_CONFIG, _WORKDIR = app.define_flags()
_MODE = app.define_mode()
processes.define_flags()

_METRIC = "bits_per_token"


@dataclasses.dataclass(frozen=True)
class Config(study.Supervised):
  """A comparison of networks on the documents of one text.

  Attributes:
    data: name of the text in `jaxseq.data`.
    data_options: options of its loader, which has to know of documents.
    max_length: elements of a document; what is longer becomes several. An
      element more than bytes are read: every document has a start.
    valid_tokens: bytes of the validation documents that an evaluation reads.
    plan: how updates are planned.
    devices: how many share the work; 0 for as many as there are, in one process
      the greatest power of two of them.
    network: fields of `nn.NetworkConfig` that all arms share.
    optimizer: fields of `recipes.Recipe` that all arms share.
    batch_size: documents per update.
    num_seeds: 1, as a run takes all devices.
  """

  _: dataclasses.KW_ONLY
  data: str
  data_options: Mapping[str, Any] = ml_collections.FrozenConfigDict()
  max_length: int = 8192
  valid_tokens: int = 65_536
  plan: document_plans.PlanConfig = document_plans.PlanConfig()
  devices: int = 0
  network: Mapping[str, Any] = ml_collections.FrozenConfigDict()
  optimizer: Mapping[str, Any] = ml_collections.FrozenConfigDict()
  batch_size: int = 32
  num_seeds: int = 1

  def __post_init__(self):
    super().__post_init__()
    self.check_positive("max_length", "valid_tokens", "batch_size")
    if self.num_seeds != 1:
      raise ValueError(
        f"num_seeds: got {self.num_seeds}, expected 1: a run takes all devices;"
        " start one with another seed."
      )
    if not self.mesh.trivial:
      raise ValueError(
        "mesh: got one, expected none, as the planner groups the devices; "
        "config.devices says how many."
      )


def choose_devices(count: int) -> list[jax.Device]:
  """Returns the devices that share the work.

  Args:
    count: how many; 0 for all of several processes, or the greatest power of
      two of one.

  Raises:
    UserError: (a ValueError) there are not as many, or they leave a process
      out, or are no power of two.
  """
  devices = jax.devices()
  total = len(devices)
  if not count and jax.process_count() == 1:
    count = 1 << (total.bit_length() - 1)
  count = count or total
  if not 1 <= count <= total or count & (count - 1):
    raise errors.UserError(
      f"devices: got {count}, expected a power of two, at most the {total} "
      "that there are"
    )
  if jax.process_count() > 1 and count != total:
    raise errors.UserError(
      f"devices: got {count}, expected all {total}, as there are "
      f"{jax.process_count()} processes"
    )
  return devices[:count]


def make_problem(
  config: Config, name: str, corpus: language.Corpus
) -> tuple[base.ArmConfig, planned.Problem]:
  """Returns an arm's options and its problem.

  Raises:
    ValueError: an option is wrong.
  """
  arm = base.arm_config(config, name)
  return arm, documents.make_problem(
    arm,
    corpus,
    config.plan,
    max_length=config.max_length,
    seed=config.seed,
    valid_tokens=config.valid_tokens,
    devices=choose_devices(config.devices),
  )


def run_arm(
  config: Config,
  directory: pathlib.Path,
  name: str,
  arm: base.ArmConfig,
  problem: planned.Problem,
  mode: str,
) -> dict[str, Any]:
  """Trains and scores an arm, or only scores it.

  Returns:
    "seconds" of training, "parameters", "updates_per_second",
    "tokens_per_update" (the mean), "programs", and bits per byte: on the
    validation documents that evaluations read, and on all test documents.
  """
  optimizer = base.make_optimizer(arm, config.num_updates)
  state = planned.init(problem, optimizer, config.seed)
  score = planned.make_evaluate(problem)
  valid = problem.valid()
  found = {}
  if mode == "train":
    start = time.monotonic()
    state = arms.train_arm(
      name.ljust(max(map(len, config.arms))),
      planned.make_chunk(problem, optimizer),
      state,
      directory / name,
      config,
      num_updates=config.num_updates,
      metric=_METRIC,
      update_axis=0,
      evaluate=lambda state, step: {_METRIC: score(state.variables, valid)},
      evaluate_every=config.chunks_per_evaluation,
    )
    found["seconds"] = time.monotonic() - start
  else:
    _, state = arms.restore(name, state, directory)
  _, tokens = scalars.column(scalars.read(directory / name), "tokens")
  return found | {
    "parameters": sum(x.size for x in jax.tree.leaves(state.variables)),
    "updates_per_second": study.speed(directory / name),
    "tokens_per_update": float(np.mean(tokens)),
    "programs": int(np.sum(state.programs)),
    _METRIC: [score(state.variables, valid)],
    "test_bits": [score(state.variables, problem.test())],
  }


def main(argv: list[str]) -> None:
  """Runs the experiment that the flags describe."""
  del argv
  seeds.split_cpu()
  with errors.setup():
    config = study.parse(_CONFIG.value, Config)
    corpus = language.from_splits(data.load(config.data, **config.data_options))
    made = {name: make_problem(config, name, corpus) for name in config.arms}
    directory = study.open_workdir(
      _WORKDIR.value,
      config,
      "documents",
      _MODE.value,
      may_change=("plan", "devices"),
    )
  names = made
  if _MODE.value == "evaluate":
    names = arms.trained(made, directory)
  results = {
    name: run_arm(config, directory, name, *made[name], _MODE.value)
    for name in names
  }
  study.finish(
    config,
    directory,
    {
      name: study.Arm(
        problem,
        None,
        _METRIC,
        results[name]["tokens_per_update"],
        unit="bytes",
      )
      for name, (_, problem) in made.items()
      if name in results
    },
    results,
    _MODE.value,
    title=f"{config.data}, bits per byte",
    columns={_METRIC: "validation", "test_bits": "all test documents"},
  )


if __name__ == "__main__":
  app.run_main(main)
