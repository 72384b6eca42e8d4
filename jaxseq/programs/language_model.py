"""Next-byte prediction on a text, with any mixer; generation of text."""

import dataclasses
import functools
import math
import pathlib
from typing import Any

import jax

from jaxseq import _validate
from jaxseq import generation
from jaxseq.models import predict_mode
from jaxseq.models import run_models
from jaxseq.models import token_model
from jaxseq.programs import text_flags
from jaxseq.tasks import base
from jaxseq.tasks import budget
from jaxseq.tasks import dynamic_evaluation
from jaxseq.tasks import language
from jaxseq.training import configuration
from jaxseq.training.comparison import arms
from jaxseq.training.comparison import curves
from jaxseq.training.comparison import experiment
from jaxseq.training.comparison import run
from jaxseq.training.comparison import supervised_arms


@dataclasses.dataclass(frozen=True)
class Config(base.DataComparison):
  """A comparison of networks on one text.

  Attributes:
    length: bytes of a piece, through which gradients flow.
    jump_every: pieces that a stream of the training reads one after the other
      before it goes on at a random place; never if None.
    valid_tokens: bytes of the validation part that an evaluation reads.
    test_streams: parts that the test text is read in, side by side; each begins
      with fresh states.
    dynamic: fields of `dynamic_evaluation.Config`, to score the test text, as
      one stream, also while learning from it; empty leaves that out.
  """

  _: dataclasses.KW_ONLY
  length: int = 256
  jump_every: int | None = None
  valid_tokens: int = 65_536
  test_streams: int = 1
  dynamic: arms.Fields = arms.EMPTY
  batch_size: int = 16

  def __post_init__(self):
    super().__post_init__()
    _validate.fields(self, positive=("length", "valid_tokens", "test_streams"))
    self.dynamic_evaluation()

  def dynamic_evaluation(self) -> dynamic_evaluation.Config:
    """Returns the options of dynamic evaluation.

    Raises:
      ValueError: a field is unknown or wrong.
    """
    return configuration.from_config_dict(
      dynamic_evaluation.Config, self.dynamic, name="dynamic"
    )


def _more(config, arm, corpus):
  """Returns what measures an arm, and checks what dynamic evaluation needs."""
  if config.dynamic:
    dynamic_evaluation.check(
      config.dynamic_evaluation(),
      arm.network,
      language.streams(corpus.train, arm.batch_size),
    )
  return functools.partial(measures, config, arm, corpus)


TASK = dataclasses.replace(language.TASK, more=_more)


def make_arms(
  config: Config, corpus: language.Corpus
) -> dict[str, supervised_arms.Arm]:
  """Builds every arm.

  Raises:
    ValueError: if an option is wrong.
  """
  return TASK.arms(config, corpus)


def measures(
  config: Config,
  arm: base.ArmConfig,
  corpus: language.Corpus,
  program: supervised_arms.Program,
  variables: Any,
  directory: pathlib.Path,
  *unused: Any,
) -> dict[str, Any]:
  """Returns bits per byte over all of the test text, and what they cost.

  "test_bits" are those of the network as it was trained; "dynamic_bits", if the
  config asks for them, those while it learns from what it has scored; both one
  per seed. "state_bytes" is the size of the states that are carried for one
  stream, and "bytes_per_cpu_second" how much of the text training reads in a
  second of the processor's time.
  """
  network = language.make_network(arm, corpus)

  def as_trained(variables, text):
    return language.bits_per_token(network, variables, text, 1024)

  test = language.streams(corpus.test, config.test_streams)
  options: dict[str, Any] = {
    "test_bits": program.measure(as_trained, variables, test),
    "state_bytes": budget.state_bytes(arm.network),
  }
  speed = curves.speed(directory, "cpu")
  if math.isfinite(speed):
    each = arm.batch_size * config.length * config.num_seeds
    options["bytes_per_cpu_second"] = round(speed * each)
  if config.dynamic:
    score = functools.partial(
      dynamic_evaluation.bits_per_token, config.dynamic_evaluation(), network
    )
    train = language.streams(corpus.train, arm.batch_size)
    test = language.streams(corpus.test, 1)
    options["dynamic_bits"] = program.measure(score, variables, train, test)
  return options


def make_sampling(
  options: text_flags.Options, vocab_size: int
) -> generation.Sampling:
  """Returns how the flags say that tokens are drawn.

  Raises:
    ValueError: if one is out of range.
  """
  if options.top_k is not None:
    _validate.integer("top_k", options.top_k, 1, vocab_size)
  return generation.Sampling(
    temperature=options.temperature, top_k=options.top_k, top_p=options.top_p
  )


def main(program: experiment.Experiment) -> None:
  """Runs the experiment that the flags describe."""
  if predict_mode.predicts(program):
    return
  options = text_flags.values()
  with program.setup() as config:
    splits = config.load()
    corpus = language.from_splits(splits)
    sampling = make_sampling(options, corpus.vocab_size)
    arms_by_name = make_arms(config, corpus)
    directory = program.open_directory(config)
  if program.mode != "generate":
    columns = dict(TASK.columns)
    if config.dynamic:
      columns["dynamic_bits"] = "learning from it"
    columns["state_bytes"] = "bytes of state"
    columns["bytes_per_cpu_second"] = "bytes/CPU s"
    title = f"{config.data}, bits per byte"
    program.compare(
      config,
      arms_by_name,
      directory,
      title=title,
      subject=config.data,
      columns=columns,
      ylabel=TASK.ylabel,
      each=run_models.writer(
        program, config, directory, "language", arms_by_name, splits
      ),
    )
  if program.mode != "evaluate":
    codec = token_model.codec(splits.info.preparation)
    for name, arm in arms_by_name.items():
      _, state = run.restore(config, directory, name, arm)
      print(f"\n--- {name} (seed 0), temperature {options.temperature} ---")
      print(
        generation.continue_text(
          language.make_network(base.arm_config(config, name), corpus),
          jax.tree.map(lambda x: x[0], jax.device_get(state.variables)),
          options.prompt,
          options.length,
          jax.random.key(options.seed),
          codec=codec,
          sampling=sampling,
        )
      )
