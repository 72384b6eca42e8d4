"""Next-byte prediction on documents of very different lengths, as planned."""

import dataclasses

from jaxseq import _validate
from jaxseq.models import predict_mode
from jaxseq.models import run_models
from jaxseq.tasks import base
from jaxseq.tasks import document_arms
from jaxseq.tasks import document_plans
from jaxseq.tasks import language
from jaxseq.training.comparison import arms
from jaxseq.training.comparison import experiment


@dataclasses.dataclass(frozen=True)
class Config(base.DataComparison):
  """A comparison of networks on the documents of one text.

  Attributes:
    max_length: elements of a document; what is longer becomes several. An
      element more than bytes are read: every document has a start.
    valid_tokens: bytes of the validation documents that an evaluation reads.
    plan: how updates are planned.
    devices: how many share the work; 0 for as many as there are, in one process
      the greatest power of two of them.
    num_seeds: 1, as a run takes all devices.
  """

  _: dataclasses.KW_ONLY
  max_length: int = 8192
  valid_tokens: int = 65_536
  plan: document_plans.PlanConfig = arms.free(document_plans.PlanConfig())
  devices: int = arms.free(0)
  num_seeds: int = 1

  def __post_init__(self):
    super().__post_init__()
    _validate.fields(
      self, positive=("max_length", "valid_tokens", "batch_size")
    )
    if self.num_seeds != 1:
      raise _validate.error(
        "num_seeds",
        self.num_seeds,
        "1: a run takes all devices; start one with another seed",
      )
    if not self.mesh.trivial:
      raise _validate.error(
        "mesh",
        self.mesh,
        "none, as the planner groups the devices; config.devices says how many",
      )
    if self.early_stopping:
      raise _validate.error(
        "early_stopping",
        self.early_stopping,
        "0, as the last variables alone are kept",
      )


def make_arms(
  config: Config, corpus: language.Corpus
) -> dict[str, document_arms.Arm]:
  """Builds every arm.

  Raises:
    ValueError: an option is wrong.
  """
  return {
    name: document_arms.make_arm(
      base.arm_config(config, name),
      corpus,
      config.plan,
      num_updates=config.num_updates,
      max_length=config.max_length,
      seed=config.seed,
      valid_tokens=config.valid_tokens,
      devices=config.devices,
    )
    for name in config.arms
  }


def main(program: experiment.Experiment) -> None:
  """Runs the experiment that the flags describe."""
  if predict_mode.predicts(program):
    return
  with program.setup() as config:
    splits = config.load()
    made = make_arms(config, language.from_splits(splits))
    directory = program.open_directory(config)
  title = f"{config.data}, bits per byte"
  columns = {
    document_arms.METRIC: "validation",
    "test_bits": "all test documents",
  }
  program.compare(
    config,
    made,
    directory,
    title=title,
    subject=config.data,
    columns=columns,
    ylabel="bits per byte",
    each=run_models.writer(
      program,
      config,
      directory,
      "language",
      made,
      splits,
      # There is one seed, without an axis.
      select=lambda variables, seed: variables,
    ),
  )
