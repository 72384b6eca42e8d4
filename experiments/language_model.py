r"""Next-byte prediction on a text, with any mixer; generation of text.

    python -m experiments.language_model --workdir=DIR \
      --config=configs/language_model/kjv.py
    python -m experiments.language_model --config=... --workdir=DIR \
      --mode=generate --prompt="In the beginning" --length=400 --temperature=0.8
    python -m experiments.language_model --workdir=DIR \
      --mode=predict --arm=NAME --data=new.txt --output=predictions.csv

The first command trains every arm of the config (one mixer each) and goes on
where an earlier run stopped. It ends with the bits per byte over the whole test
text, read with carried states, a table, `DIR/learning_curve.png`,
`DIR/results.json`, and a sample and the trained model of each arm,
`DIR/ARM/model.safetensors`. The second command continues a prompt with the
newest checkpoints, the third gives the probability of each byte of a file;
`--mode=evaluate` only scores the checkpoints. With
`dynamic` in the config the text is also scored while the network learns from
what it has scored, as an adaptive compressor does.
"""

from collections.abc import Mapping
import dataclasses
import functools
import math
import pathlib
from typing import Any

from absl import flags
import jax

from jaxseq import _validate
from jaxseq import generation
from jaxseq.models import predict_mode
from jaxseq.models import run_models
from jaxseq.models import token_model
from jaxseq.tasks import base
from jaxseq.tasks import budget
from jaxseq.tasks import dynamic_evaluation
from jaxseq.tasks import language
from jaxseq.training import app
from jaxseq.training import configuration
from jaxseq.training.comparison import arms
from jaxseq.training.comparison import curves
from jaxseq.training.comparison import experiment
from jaxseq.training.comparison import run
from jaxseq.training.comparison import supervised_arms

_PROMPT = flags.DEFINE_string("prompt", "", "text to continue")
_LENGTH = flags.DEFINE_integer(
  "length", 400, "bytes to generate", lower_bound=1
)
_TEMPERATURE = flags.DEFINE_float(
  "temperature", 0.8, "of sampling; 0 is greedy", lower_bound=0.0
)
_TOP_K = flags.DEFINE_integer(
  "top_k",
  None,
  "only the k most probable bytes are drawn; at most 256, or the number of a "
  "tokenizer's tokens",
  lower_bound=1,
)
_TOP_P = flags.DEFINE_float(
  "top_p",
  None,
  "only the most probable bytes that sum to p are drawn; above 0, at most 1",
)
_SEED = flags.DEFINE_integer("seed", 0, "seed of the sampling")


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
  dynamic: Mapping[str, Any] = arms.EMPTY
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


_PROGRAM = experiment.Experiment(
  "language_model", Config, modes=(*predict_mode.MODES, "generate")
)
predict_mode.define_flags()


def make_arms(
  config: Config, corpus: language.Corpus
) -> dict[str, supervised_arms.Arm]:
  """Builds every arm.

  Raises:
    ValueError: if an option is wrong.
  """
  made = {}
  for name in config.arms:
    arm = base.arm_config(config, name)
    problem = language.Problem(
      arm,
      corpus,
      length=config.length,
      jump_every=config.jump_every,
      valid_tokens=config.valid_tokens,
    )
    made[name] = base.make_arm(
      config,
      arm,
      problem,
      "bits_per_token",
      "bytes",
      better="lower",
      examples=arm.batch_size * config.length,
      more=functools.partial(measures, config, arm, corpus),
    )
    if config.dynamic:
      dynamic_evaluation.check(
        config.dynamic_evaluation(),
        arm.network,
        language.streams(corpus.train, arm.batch_size),
      )
  return made


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
  found: dict[str, Any] = {
    "test_bits": program.measure(as_trained, variables, test),
    "state_bytes": budget.state_bytes(arm.network),
  }
  speed = curves.speed(directory, "cpu")
  if math.isfinite(speed):
    each = arm.batch_size * config.length * config.num_seeds
    found["bytes_per_cpu_second"] = round(speed * each)
  if config.dynamic:
    score = functools.partial(
      dynamic_evaluation.bits_per_token, config.dynamic_evaluation(), network
    )
    train = language.streams(corpus.train, arm.batch_size)
    test = language.streams(corpus.test, 1)
    found["dynamic_bits"] = program.measure(score, variables, train, test)
  return found


def make_sampling(vocab_size: int) -> generation.Sampling:
  """Returns how the flags say that tokens are drawn.

  Raises:
    ValueError: if one is out of range.
  """
  if _TOP_K.value is not None:
    _validate.integer("top_k", _TOP_K.value, 1, vocab_size)
  return generation.Sampling(
    temperature=_TEMPERATURE.value, top_k=_TOP_K.value, top_p=_TOP_P.value
  )


def main(argv: list[str]) -> None:
  """Runs the experiment that the flags describe."""
  del argv
  if predict_mode.predicts(_PROGRAM):
    return
  with _PROGRAM.setup() as config:
    splits = config.load()
    corpus = language.from_splits(splits)
    sampling = make_sampling(corpus.vocab_size)
    made = make_arms(config, corpus)
    directory = _PROGRAM.open_directory(config)
  if _PROGRAM.mode != "generate":
    columns = {"bits_per_token": "validation", "test_bits": "whole test text"}
    if config.dynamic:
      columns["dynamic_bits"] = "learning from it"
    columns["state_bytes"] = "bytes of state"
    columns["bytes_per_cpu_second"] = "bytes/CPU s"
    title = f"{config.data}, bits per byte"
    _PROGRAM.compare(
      config,
      made,
      directory,
      title=title,
      subject=config.data,
      columns=columns,
      ylabel="bits per byte",
      each=run_models.writer(
        _PROGRAM, config, directory, "language", made, splits
      ),
    )
  if _PROGRAM.mode != "evaluate":
    codec = token_model.codec(splits.info.preparation)
    for name, arm in made.items():
      _, state = run.restore(config, directory, name, arm)
      print(f"\n--- {name} (seed 0), temperature {_TEMPERATURE.value} ---")
      print(
        generation.continue_text(
          language.make_network(base.arm_config(config, name), corpus),
          jax.tree.map(lambda x: x[0], jax.device_get(state.variables)),
          _PROMPT.value,
          _LENGTH.value,
          jax.random.key(_SEED.value),
          codec=codec,
          sampling=sampling,
        )
      )


if __name__ == "__main__":
  app.run_main(main)
