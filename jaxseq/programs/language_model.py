"""Next-byte prediction on a text, with any mixer; generation of text."""

import dataclasses
import functools
import math
import pathlib
from typing import Any

import jax

from jaxseq import generation
from jaxseq import validate
from jaxseq.models import token_model
from jaxseq.programs import text_flags
from jaxseq.tasks import base
from jaxseq.tasks import budget
from jaxseq.tasks import language
from jaxseq.tasks.language import dynamic_evaluation
from jaxseq.tasks.language import streamed_language
from jaxseq.tasks.language import token_rows
from jaxseq.training import configuration
from jaxseq.training.comparison import arms
from jaxseq.training.comparison import curves
from jaxseq.training.comparison import experiment
from jaxseq.training.comparison import run
from jaxseq.training.comparison import supervised_arms
from jaxseq.training.comparison import work as works
from jaxseq.types import PyTree


@dataclasses.dataclass(frozen=True)
class Config(base.DataComparison):
  """A comparison of networks on one text.

  Attributes:
    length: bytes of a chunk, through which gradients flow.
    jump_every: consecutive chunks that a training stream reads before it jumps
      to a random position; never if None.
    valid_tokens: bytes of the validation part that an evaluation reads.
    test_streams: number of parallel streams of the test text; each begins with
      fresh states.
    dynamic: fields of `dynamic_evaluation.Config`, to score the test text, as
      one stream, also while training on it; empty to skip this.
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
    validate.fields(self, positive=("length", "valid_tokens", "test_streams"))
    self.dynamic_evaluation()

  def dynamic_evaluation(self) -> dynamic_evaluation.Config:
    """Returns the options of dynamic evaluation.

    Raises:
      ValueError: if a field is unknown or wrong.
    """
    return configuration.from_config_dict(
      dynamic_evaluation.Config, self.dynamic, name="dynamic"
    )


def _more(config, arm, corpus):
  """Returns the function that measures an arm; checks dynamic evaluation."""
  if config.dynamic:
    if isinstance(corpus.train, token_rows.Documents):
      expected = "none, as its statistics are those of a text in memory"
      raise validate.error("dynamic", dict(config.dynamic), expected)
    dynamic_evaluation.check(
      config.dynamic_evaluation(),
      arm.network,
      language.streams(corpus.train, arm.batch_size),
    )
  return functools.partial(measures, config, arm, corpus)


def measures(
  config: Config,
  arm: base.ArmConfig,
  corpus: language.Corpus,
  program: supervised_arms.Program,
  variables: PyTree,
  directory: pathlib.Path,
  *unused: object,
) -> dict[str, Any]:
  """Returns bits per byte over the whole test text, and their cost.

  "test_bits" are those of the trained network; "dynamic_bits", if the config
  requests them, those of dynamic evaluation, which trains on the scored text;
  both per seed. "state_bytes" is the size of the carried states of one stream,
  and "bytes_per_cpu_second" the number of bytes that training reads per CPU
  second.
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


TASK = dataclasses.replace(
  language.TASK,
  problem=streamed_language.make,
  splits=streamed_language.in_memory,
  columns={
    **language.TASK.columns,
    "dynamic_bits": "learning from it",
    "state_bytes": "bytes of state",
    "bytes_per_cpu_second": "bytes/CPU s",
  },
  more=_more,
)


def work(config: Config, program: experiment.Experiment) -> works.Work:
  """Returns the arms, with the texts that they continue at the end."""
  work = TASK.work(config)
  flags = text_flags.values()
  vocab_size = next(iter(work.arms.values())).problem.network.vocab_size
  if flags["top_k"] is not None:
    validate.integer("top_k", flags["top_k"], 1, vocab_size)
  sampling = generation.Sampling(
    **{name: flags[name] for name in ("temperature", "top_k", "top_p")}
  )

  def show(directory, results):
    del results
    if program.mode == "evaluate":
      return
    codec = token_model.codec(work.splits.info.preparation)
    for name, arm in work.arms.items():
      _, state = run.restore(config, directory, name, arm)
      print(f"\n--- {name} (seed 0), temperature {flags['temperature']} ---")
      print(
        generation.continue_text(
          arm.problem.network,
          jax.tree.map(lambda x: x[0], jax.device_get(state.variables)),
          flags["prompt"],
          flags["length"],
          jax.random.key(flags["seed"]),
          codec=codec,
          sampling=sampling,
        )
      )

  return dataclasses.replace(work, show=show)
