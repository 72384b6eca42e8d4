"""Adapting a trained network to texts, chats or preferences."""

from collections.abc import Mapping
import dataclasses
import functools
import inspect
import pathlib
from typing import Any
from typing import Literal
from typing import NamedTuple

from absl import logging
import jax
import jax.numpy as jnp
import numpy as np

from jaxseq import _json
from jaxseq import data
from jaxseq import limits
from jaxseq import nn
from jaxseq import validate
from jaxseq.adapt import initial_states
from jaxseq.adapt import lora
from jaxseq.adapt import peft_file
from jaxseq.adapt import products
from jaxseq.data import chat_sets
from jaxseq.data import text_tokens
from jaxseq.models import model as models
from jaxseq.models import model_file
from jaxseq.programs import adapted_files
from jaxseq.programs import serve
from jaxseq.tasks import adaptation
from jaxseq.tasks import base
from jaxseq.tasks import language
from jaxseq.tasks import task as tasks
from jaxseq.tasks.adaptation import chat_adaptation
from jaxseq.training import configuration
from jaxseq.training.comparison import curves
from jaxseq.training.comparison import experiment
from jaxseq.training.comparison import supervised_arms
from jaxseq.training.comparison import work as works
from jaxseq.training.devices import device_mesh
from jaxseq.types import PyTree

# Tokens of a chunk in which a text is scored.
_PIECE = 1024
_LEFT_OUT = (
  "adapters: %d weights such as %s are left out, as PEFT reads no file with "
  "adapters of them; name them among the targets to adapt them, too"
)


@dataclasses.dataclass(frozen=True)
class Config(base.DataComparison):
  """A comparison of methods of adapting one network.

  Attributes:
    base: a model file or its directory, as for `experiments.serve`; "" for the
      network of `network` with random weights, for trials.
    data: a text, or "chats", "preferences" and the like, see `data.chat_sets`.
    length: tokens of a row of chats, or of a chunk of a text.
    cut: whether to truncate chats that are longer than a row.
    fresh: whether chunks of a text are separate texts, see
      `tasks.adaptation.TextProblem`; required if states are tuned.
    jump_every: for texts, see `tasks.language`.
    valid_tokens: for texts, see `tasks.language`.
    pairs: fields of `tasks.adaptation.preference.Config`, for all arms.
    context: see `serve.Loading`, also for the next two.
    param_dtype: dtype of the base's parameters.
    quantize: whether to round the base's weights to 8 bits, for all methods
      except "full".
  """

  _: dataclasses.KW_ONLY
  base: str = ""
  length: int = 256
  cut: bool = False
  fresh: bool = False
  jump_every: int | None = None
  valid_tokens: int = 65_536
  batch_size: int = 16
  pairs: Mapping[str, Any] = configuration.EMPTY
  context: int | None = None
  param_dtype: Literal["float32", "bfloat16", "float16"] = "float32"
  quantize: bool = False

  def __post_init__(self):
    super().__post_init__()
    validate.fields(self, positive=("length", "valid_tokens"))
    if self.base and self.network:
      expected = "none with a base, whose network it is"
      raise validate.error("network", dict(self.network), expected)
    if self.mesh != device_mesh.MeshConfig():
      raise validate.error("mesh", self.mesh, "none: devices take seeds each")

  @property
  def loading(self) -> serve.Loading:
    """Returns the options of loading the base."""
    return serve.Loading(self.context, self.param_dtype, self.quantize)


class Source(NamedTuple):
  """The network and the data of a comparison.

  Attributes:
    splits: the data.
    adapted: the network to adapt.
    pretrained: whether the base is a directory of the transformers library.
    corpus: the text; None for chats.
    pairs: whether the chats are preference pairs.
  """

  splits: data.Splits
  adapted: adaptation.Base
  pretrained: bool
  corpus: language.Corpus | None
  pairs: bool


def open_source(config: Config) -> Source:
  """Loads the network and the data.

  Raises:
    ValueError: if there is no such model, or the data have other tokens.
    OSError: if a file cannot be read.
  """
  if config.base:
    path = pathlib.Path(config.base)
    if not path.exists():
      expected = "a file or directory that is there: that of a model or an arm"
      raise validate.error("config.base", config.base, expected)
    try:
      served = serve.load(path, config.loading)
    except ValueError as error:
      named = str(error).replace("--checkpoint", "config.base")
      raise ValueError(named) from error
    pretrained = (path / "config.json").is_file()
    start, names = _start(path, served) if pretrained else language.START, None
    if pretrained:
      names = peft_file.names(path)
    adapted = adaptation.Base(
      served.network, served.variables, start, not pretrained, names
    )
    tokenizer = served.codec.tokenizer
  else:
    adapted, pretrained, tokenizer = _random(config), False, None
  if len(adapted.variables) > 1:
    got = ", ".join(adapted.variables)
    raise validate.error("base: variables", got, "params alone")
  splits = config.load(**_tokenizer(config, pretrained, tokenizer))
  _check_tokens(splits, tokenizer, adapted.network.vocab_size)
  corpus = None
  if splits.train.extras.answers is None:
    corpus = language.from_splits(splits)
    if not isinstance(corpus.train, language.Text):
      raise validate.error("data", config.data, "a text in memory, or chats")
  pairs = config.data in ("preferences", "sum_preferences")
  adapted = adapted._replace(digest=initial_states.digest(adapted.variables))
  return Source(splits, adapted, pretrained, corpus, pairs)


def _random(config):
  """Returns an untrained network of bytes."""
  if not config.network:
    expected = "a model to adapt, as runs/notes/mamba, or a network for trials"
    raise validate.error("base", "none", expected)
  fields = configuration.from_config_dict(
    nn.NetworkConfig, config.network, name="config.network"
  )
  network = nn.SequenceNetwork(fields, 256, 256)
  key = jax.random.fold_in(jax.random.key(config.seed), 0xBA5E)
  variables = network.init(key, jnp.zeros((1, 1), jnp.int32))
  return adaptation.Base(network, jax.tree.map(np.asarray, variables))


def _start(path, served):
  """Returns a pretrained model's token for the beginning of a text."""
  contents = _json.loads(
    limits.read_bytes(path / "config.json", limits.JSON), long=True
  )
  first = contents.get("bos_token_id")
  if isinstance(first, int) and 0 <= first < served.network.vocab_size:
    return first
  return served.stop_tokens[0] if served.stop_tokens else language.START


def _tokenizer(config, pretrained, tokenizer):
  """Returns the data's tokenizer option, if the config does not set it."""
  loader = data.loader(config.data)
  takes = "tokenizer" in inspect.signature(loader).parameters
  if not (pretrained and tokenizer and takes):
    return {}
  if config.data_options.get("tokenizer") is not None:
    return {}
  place = pathlib.Path(config.base)
  if "answers" not in inspect.signature(loader).parameters and (
    config.data != "preferences"
  ):
    place /= "tokenizer.json"
  return {"tokenizer": str(place)}


def _check_tokens(splits, tokenizer, vocab_size):
  """Rejects data of other tokens than the network's."""
  content = getattr(splits.info.preparation, "tokenizer", None)
  own_tokenizer = content and text_tokens.read_tokenizer(content)
  if (own_tokenizer and text_tokens.described(own_tokenizer)) != (
    tokenizer and text_tokens.described(tokenizer)
  ):
    got = "bytes" if content is None else "those of another tokenizer"
    expected = "bytes" if tokenizer is None else "the base's own tokenizer"
    raise validate.error("the data: tokens", got, expected)
  count = splits.info.vocab_size
  if count is None or count > vocab_size:
    expected = f"at most {vocab_size} tokens, as the base has"
    raise validate.error("the data", count, expected)


def _fit(arm, source, config):
  """Returns the arm with the network of the base."""
  if config.quantize and arm.method == "full":
    expected = (
      "a method that leaves the weights as they are, with quantize=True: pass "
      'method="lora", or quantize=False'
    )
    raise validate.error("arms: method", arm.method, expected)
  arm = adaptation.fit(arm, source.adapted)
  default = adaptation.MethodConfig().adapters.targets
  if not (source.pretrained and "lora" in arm.method):
    return arm
  if arm.adapters.targets != default:
    return arm
  # Adapter files can store only weights that are matrices in the model's files.
  adapted = source.adapted
  paths = products.weights(adapted.network, adapted.variables)
  layers = [path for path in paths if path.startswith("stack/")]
  held = [path for path in layers if path in adapted.names]
  modules = [each for path in held for each in adapted.names[path]]
  dora = arm.adapters.dora
  lost = peft_file.unreadable(modules, config.base, dora=dora)
  if lost:
    logging.warning(_LEFT_OUT, len(lost), lost[0])
    held = [p for p in held if not set(lost).intersection(adapted.names[p])]
  if held == layers:
    return arm
  targets = tuple(path.replace("/", ".") for path in held)
  adapters = dataclasses.replace(arm.adapters, targets=targets)
  return dataclasses.replace(arm, adapters=adapters)


def _problem(arm, source, config):
  """Returns the problem of an arm."""
  adapted, splits = source.adapted, source.splits
  if source.corpus is not None:
    return adaptation.TextProblem(
      arm,
      adapted,
      source.corpus,
      length=config.length,
      fresh=config.fresh,
      jump_every=config.jump_every,
      valid_tokens=config.valid_tokens,
      bytes_per_token=_bytes_per_token(splits, splits.valid.targets[0]),
    )
  parts = {
    name: chat_sets.examples(part) for name, part in base.parts(splits).items()
  }
  if source.pairs:
    return chat_adaptation.PreferenceProblem(
      arm, adapted, parts, length=config.length, cut=config.cut
    )
  answers = splits.test.targets[splits.test.extras.answers]
  return chat_adaptation.ChatProblem(
    arm,
    adapted,
    parts,
    length=config.length,
    cut=config.cut,
    bytes_per_token=_bytes_per_token(splits, answers),
  )


def _bytes_per_token(splits, tokens):
  """Returns the mean number of bytes per token of a text."""
  content = getattr(splits.info.preparation, "tokenizer", None)
  if content is None:
    return 1.0
  tokenizer = text_tokens.read_tokenizer(content)
  words = text_tokens.text_of(tokenizer, np.asarray(tokens).tolist())
  return len(words.encode()) / len(tokens)


def _more(config, arm, source):
  """Returns the function that measures an arm."""
  table = None
  if "lora" in arm.method:
    adapted = source.adapted
    table = lora.match(
      adapted.network, adapted.variables, arm.adapters, adapted.names
    )
    lost = [row.path for row in table.rows if not row.names]
    if source.pretrained and lost:
      expected = "targets that are matrices of the model's files"
      raise validate.error("adapters: targets", lost[0], expected)
  return Measures(config, arm, source, table)


@dataclasses.dataclass(frozen=True, eq=False)
class Measures:
  """Further report entries of an arm, besides its metrics.

  Attributes:
    config: the comparison.
    arm: the arm.
    source: the network and the data.
    table: the adapted weights; None without adapters.
  """

  config: Config
  arm: adaptation.ArmConfig
  source: Source
  table: lora.Table | None

  def __call__(
    self,
    program: supervised_arms.Program,
    variables: PyTree,
    directory: pathlib.Path,
    *unused: object,
  ) -> dict[str, Any]:
    """Returns the cost of the training, and the adapted weights.

    "share" is the ratio of trained numbers to the network's numbers. For texts,
    "test_bits" are the bits per byte over the whole test text, as one stream
    or, with `fresh`, in chunks.
    """
    source, adapted = self.source, self.source.adapted
    trained = supervised_arms.num_parameters(variables["params"])
    whole = sum(np.size(leaf) for leaf in jax.tree.leaves(adapted.variables))
    result: dict[str, Any] = {
      "share": round(trained / whole, 6),
      "base_parameters": whole,
    }
    if self.table is not None:
      result["adapters"] = {
        "weights": [row._asdict() for row in self.table.rows],
        "layers": {name: list(hit) for name, hit in self.table.layers.items()},
      }
    speed = curves.speed(directory, "cpu")
    if np.isfinite(speed):
      each = program.problem.tokens * self.config.num_seeds
      result["tokens_per_cpu_second"] = round(speed * each)
    if source.corpus is not None:
      method = adaptation.make_method(self.arm, adapted)

      def bits(variables, frozen, text):
        served = method.served(frozen, variables["params"])
        return _bits(self.config, source, served, text)

      frozen = dict(adapted.variables)
      result["test_bits"] = program.measure(
        bits, variables, frozen, _test(source)
      )
    return result


def _bits(config, source, variables, text):
  """Returns the bits per byte of the test text."""
  adapted = source.adapted
  arguments = adapted.network, variables, text
  if config.fresh:
    bits = adaptation.bits_of_pieces(*arguments, config.length, adapted.start)
  else:
    bits = language.bits_per_token(*arguments, _PIECE, adapted.start)
  return bits / _bytes_per_token(source.splits, source.corpus.test.tokens)


def _test(source):
  """Returns the test text as one stream."""
  return language.streams(source.corpus.test, 1)


def _of(task, source):
  """Returns the task with the columns for texts, chats or pairs."""
  headings = {"test_loss": "nats a token", "bits_per_byte": "bits a byte"}
  if source.corpus is not None:
    headings = {"test_bits": "bits a byte", "bits_per_byte": "validation"}
  elif source.pairs:
    headings = {
      "margin": "margin",
      "accuracy": "accuracy",
      "test_loss": "loss of pairs",
    }
  share = {"share": "share trained", "tokens_per_cpu_second": "tokens/CPU s"}
  return dataclasses.replace(task, columns={**headings, **share})


TASK = tasks.Task(
  name="adaptation",
  arm=adaptation.ArmConfig,
  problem=_problem,
  metric="test_loss",
  better="lower",
  unit="tokens",
  columns={"test_loss": "nats a token"},
  load=open_source,
  adapt=_of,
  fit=_fit,
  optimizer=adaptation.make_optimizer,
  examples=lambda arm, problem: problem.tokens,
  more=_more,
)


def work(config: Config, program: experiment.Experiment) -> works.Work:
  """Returns the arms, with functions that write their adapters."""
  comparison = TASK.work(config)
  source = comparison.splits
  for name, arm in comparison.arms.items():
    if arm.more.table is not None:
      print(f"--- {name} ---\n{arm.more.table}")
      if source.pretrained:
        modules = [each for row in arm.more.table.rows for each in row.names]
        dora = arm.more.arm.adapters.dora
        peft_file.check_readable(modules, config.base, dora=dora)
  problem = next(iter(comparison.arms.values())).problem
  options = dict(comparison.options)
  if program.mode != "predict":
    options |= _before(config, source, problem)
  return dataclasses.replace(
    comparison,
    options=options,
    splits=source.splits,
    begin=functools.partial(
      adapted_files.begin, base=config.base, adapted=source.adapted
    ),
    save=functools.partial(_save, config, source, comparison.arms),
  )


def _before(config, source, problem):
  """Returns report options with the network's metrics before adaptation."""
  variables = source.adapted.variables
  if source.corpus is not None:
    bits = jax.jit(functools.partial(_bits, config, source))
    before = {"test_bits": float(bits(variables, _test(source)))}
    return {"baselines": {"before": before}, "levels": {}}
  test = jax.jit(problem.measure)(variables, problem.data["test"])
  metrics = {name: float(x) for name, x in test.items()}
  return {"baselines": {"before": metrics}, "levels": {}}


def _save(config, source, arms, directory, name, variables, about):
  """Writes the trained variables of an arm, and the adapted network."""
  arm, adapted, place = arms[name].more.arm, source.adapted, directory / name
  about = {**about, "base": config.base, "base_sha256": adapted.digest}
  # Adapters of pretrained models are served separately from the model.
  separate = source.pretrained and arm.method != "full"
  arguments = config.base, arm, adapted, variables["params"], about
  served = adapted_files.write(place, *arguments, separate=separate)
  if separate:
    return
  network = adapted.network
  if source.pretrained:
    adapted_files.write_pretrained(
      place, config.base, network.config, served, config.context
    )
    return
  model = models.make("language", network, served, source.splits, about)
  model_file.save(place / model_file.NAME, model)
