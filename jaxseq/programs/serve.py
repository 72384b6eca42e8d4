"""A server of a language model's completions, or of recommendations."""

from collections.abc import Sequence
import dataclasses
import functools
import pathlib
import time
from typing import Any
from typing import Literal
from typing import NamedTuple

from absl import flags
from absl import logging

from jaxseq import adapt
from jaxseq import generation
from jaxseq import models
from jaxseq import validate
from jaxseq.adapt import initial_states
from jaxseq.data import chats
from jaxseq.data import packages
from jaxseq.data import text_tokens
from jaxseq.generation import engine_thread
from jaxseq.generation import pattern_pool
from jaxseq.generation import server
from jaxseq.interop import _model_files
from jaxseq.interop import row_predictors
from jaxseq.interop import streamed
from jaxseq.models import item_server
from jaxseq.models import pretrained
from jaxseq.models import token_model
from jaxseq.programs import serve_flags
from jaxseq.training import compile_cache
from jaxseq.training import errors
from jaxseq.types import PyTree
from jaxseq.types import TokenNetwork


class Served(NamedTuple):
  """A model to serve.

  Attributes:
    network: a token network.
    variables: variables of the network.
    codec: text codec.
    stop_tokens: tokens that end a text.
    positions: number of tokens that full attention of a pretrained model sees;
      None for no limit.
    template: chat template; None if the model has none.
  """

  network: TokenNetwork
  variables: PyTree
  codec: generation.Codec
  stop_tokens: tuple[int, ...]
  positions: int | None = None
  template: chats.Template | None = None


@dataclasses.dataclass(frozen=True)
class Loading:
  """Options of loading a model.

  Attributes:
    context: number of earlier elements that full attention sees, see
      `huggingface.load`; only for pretrained models.
    param_dtype: dtype of the parameters; only for pretrained models.
    quantize: whether to round weights to 8 bits, see `adapt.quantized`.
    memory: bytes of weights in memory, such as "2GB", to compute feed-forwards
      from a file, see `interop.streamed`; only for pretrained models.
    stream_to: the file for `memory`; "streamed.safetensors" in the model's
      directory if None.
    predictors: a file of predictors of active neurons, with `memory`.
  """

  context: int | None = None
  param_dtype: Literal["float32", "bfloat16", "float16"] = "float32"
  quantize: bool = False
  memory: str | None = None
  stream_to: str | None = None
  predictors: str | None = None

  def __post_init__(self):
    validate.literals(self)
    for name in ("stream_to", "predictors"):
      if getattr(self, name) is not None and self.memory is None:
        raise validate.error(name, getattr(self, name), "None without memory")
    if self.memory is not None:
      streamed.parse_bytes("memory", self.memory)
      if self.quantize:
        raise validate.error("quantize", True, "False with memory")


def load(path: pathlib.Path, loading: Loading = Loading()) -> Served:
  """Loads a checkpoint of a language model.

  Args:
    path: a file of `jaxseq.models`, a directory that contains it, or a
      pretrained model's directory.
    loading: options.

  Raises:
    ValueError: if there is no model, it is not a language model, or an option
      does not apply to such a model.
    OSError: if a file cannot be read.
  """
  return of_model(path, read(path), loading)


def read(path: pathlib.Path) -> models.Model | None:
  """Returns the model of a checkpoint; None for a pretrained model.

  Raises:
    ValueError: if there is no model.
    OSError: if a file cannot be read.
  """
  if _described(path) is not None:
    return None
  return models.load(_file(path))


def of_model(
  path: pathlib.Path,
  model: models.Model | None,
  loading: Loading = Loading(),
) -> Served:
  """Returns the served model like `load`, for a loaded model file.

  Raises:
    ValueError: as `load`.
    OSError: as `load`.
  """
  if model is None:
    return _pretrained(path, loading)
  if model.kind != "language":
    expected = "a model of language, or of recommendation"
    raise validate.error("--checkpoint", model.kind, expected)
  codec = token_model.codec(model.preparation)
  if codec.tokenizer is None:
    _check_bytes(model.network.vocab_size)
  for name in ("context", "param_dtype", "memory"):
    value = getattr(loading, name)
    if value != getattr(Loading(), name):
      expected = "no such option with a model that was trained here"
      raise validate.error(name, value, expected)
  variables = model.variables
  if loading.quantize:
    variables = adapt.quantized.quantize(model.network, variables)
  return Served(model.network, variables, codec, ())


def _described(path):
  """Returns the config.json of a pretrained model, or None."""
  described = path / _model_files.CONFIG
  if described.is_file():
    contents = _model_files.read_json(described)
    if "model_type" in contents:
      return contents
  return None


def _file(path):
  """Returns the model file of a path to it or to its directory."""
  if not path.is_dir():
    return path
  file = path / models.model_file.NAME
  if not file.is_file():
    arms = sorted(
      each.parent.name for each in path.glob(f"*/{models.model_file.NAME}")
    )
    listed = f"one of its arms ({', '.join(arms)})"
    if not arms:
      listed = f"one with {models.model_file.NAME}, as a run leaves it when it "
      listed += "ends, or config.json"
    raise validate.error("--checkpoint", str(path), listed)
  return file


def read_pretrained(path: pathlib.Path, loading: Loading) -> tuple[Any, Any]:
  """Returns the network and variables of a transformers model."""
  model = _read(path, loading)
  return model.network, model.variables


def _read(path, loading):
  """Loads a transformers model."""
  options = {}
  if loading.memory is not None:
    file = pathlib.Path(loading.stream_to or path / "streamed.safetensors")
    if not file.exists():
      print(f"Writing all weights to {file}, to stream from.", flush=True)
    options = {"stream_to": file, "memory": loading.memory}
    if loading.predictors is not None:
      options["predictors"] = row_predictors.load(loading.predictors)
  return pretrained.load(
    path,
    **options,
    context=loading.context,
    param_dtype=loading.param_dtype,
    quantize=adapt.quantized.Config() if loading.quantize else None,
  )


def _pretrained(path, loading):
  """Returns a served model of the transformers library, which reads texts."""
  model = _read(path, loading)
  if model.codec is None:
    _check_bytes(model.network.vocab_size)
  is_of_bytes = model.codec.tokenizer is None
  return Served(
    model.network,
    model.variables,
    model.codec,
    () if is_of_bytes else model.stop_tokens,
    model.positions,
    model.template,
  )


def _check_bytes(vocab_size):
  """Rejects a vocabulary without a tokenizer, unless its tokens are bytes."""
  if vocab_size != 256:
    raise validate.error(
      "--checkpoint",
      f"{vocab_size} tokens without a tokenizer",
      "a tokenizer, or 256 tokens: bytes",
    )


def make_patterns(
  served: Served, memory: int
) -> generation.PatternConfig | None:
  """Returns the pattern cache's size, or None, with a warning if unsupported.

  Args:
    served: the model.
    memory: bytes; 0 for no patterns.

  Raises:
    ValueError: if the memory is too small.
  """
  if not memory:
    return None
  vocab_size = served.network.vocab_size
  # Half is for compiled patterns that wait for their rows.
  each = 2 * pattern_pool.row_bytes(vocab_size)
  # More than any handwritten pattern needs.
  states = min(16_384, memory // each)
  if states < 64:
    least = 64 * each
    raise validate.error(
      "--pattern_bytes", memory, f"0, or at least {least} for this vocabulary"
    )
  tokens = None
  if served.codec.tokenizer is not None:
    try:
      tokens = text_tokens.token_bytes(served.codec.tokenizer, vocab_size)
    except ValueError as error:
      logging.warning("Requests cannot have a regex: %s", error)
      return None
  end_token = served.stop_tokens[0] if served.stop_tokens else None
  return generation.PatternConfig(states, tokens, end_token)


def make_drafts(drafts: str | None) -> dict[str, Any]:
  """Returns the engine options of `--drafts`.

  Raises:
    ValueError: as `load`.
    OSError: as `load`.
  """
  if drafts is None:
    return {}
  if drafts == "recycling":
    # A small tree is faster if a pass over more tokens costs more.
    draft = generation.recycling.Recycling(generation.recycling.SMALL_TREE)
    return {"drafts": draft}
  small = load(pathlib.Path(drafts))
  return {
    "drafts": generation.draft_model.DraftModel(small.network),
    "memory": generation.draft_model.Memory(small.variables),
  }


def with_states(served: Served, path: str | None) -> Served:
  """Returns the model with the tuned initial states of a file, if any.

  Raises:
    ValueError: if the file does not contain such states, or is of another
      model.
    OSError: if it cannot be read.
  """
  if path is None:
    return served
  states = initial_states.load(path, served.variables)
  tuned = initial_states.attach(served.network, served.variables, states)
  return served._replace(variables=tuned)


def make_adapters(
  entries: Sequence[str], model: pathlib.Path
) -> dict[str, dict[str, adapt.lora.Factors]]:
  """Loads the adapters of `--adapter`.

  Args:
    entries: strings NAME=DIRECTORY.
    model: the directory of the adapted pretrained model, or a file of
      `jaxseq.models`.

  Raises:
    ValueError: if an entry has another form, an adapter is for another model,
      or a name is repeated.
    OSError: if a file cannot be read.
  """
  adapters = {}
  for entry in entries:
    name, _, directory = entry.partition("=")
    if not (name and directory) or name in adapters:
      expected = "NAME=DIRECTORY, each name once"
      raise validate.error("--adapter", entry, expected)
    adapters[name] = adapt.peft_file.read(directory, model)
  return adapters


def make_limits(served: Served) -> server.Limits:
  """Returns request limits: prompts are at most as long as the model sees."""
  limits = server.Limits(max_tokens=flags.FLAGS.max_tokens)
  if served.positions is None or flags.FLAGS.long_prompts:
    return limits
  most = min(limits.prompt_tokens, served.positions)
  return dataclasses.replace(limits, prompt_tokens=most)


def make_config() -> generation.EngineConfig:
  """Returns the sizes of the engine that the flags select.

  Raises:
    ValueError: if a flag is out of range.
  """
  return generation.EngineConfig(
    slots=flags.FLAGS.slots,
    steps=flags.FLAGS.steps,
    key_channels=flags.FLAGS.key_channels,
    whole_keys=flags.FLAGS.whole_keys,
  )


def make_app(served: Served, config: generation.EngineConfig, name: str) -> Any:
  """Returns the application with the options of the flags."""
  cache = None
  if flags.FLAGS.prefix_bytes:
    cache = generation.PrefixCache(flags.FLAGS.prefix_bytes)
  engine = generation.Engine(
    served.network,
    served.variables,
    config,
    cache=cache,
    patterns=make_patterns(served, flags.FLAGS.pattern_bytes),
    adapters=make_adapters(
      flags.FLAGS.adapter, pathlib.Path(flags.FLAGS.checkpoint)
    ),
    adapter_room=flags.FLAGS.adapters_at_run_time,
    **make_drafts(flags.FLAGS.drafts),
  )
  if flags.FLAGS.warm:
    # No client should wait for compilation.
    print("Compiling all programs, or reading them from disk.", flush=True)
    start = time.monotonic()
    engine.warm_up()
    seconds = time.monotonic() - start
    print(f"The programs were compiled in {seconds:.1f} seconds.", flush=True)
  settings = server.ServerConfig(
    model=name,
    timeout=flags.FLAGS.timeout,
    limits=make_limits(served),
    stop_tokens=served.stop_tokens,
    api_keys=tuple(flags.FLAGS.api_key),
  )
  worker = engine_thread.EngineThread(engine, flags.FLAGS.waiting)
  read_adapter = None
  if flags.FLAGS.adapters_at_run_time:
    read_adapter = functools.partial(
      adapt.peft_file.read, model=pathlib.Path(flags.FLAGS.checkpoint)
    )
  rest = served.template, read_adapter
  return server.make_app(worker, served.codec, settings, *rest)


def _check_flags(kind, names):
  """Rejects flags that do not apply to a model of this kind."""
  for name in names:
    if flags.FLAGS[name].present:
      expected = f"none with a model of {kind}"
      raise validate.error(f"--{name}", flags.FLAGS[name].value, expected)


def main(argv: Sequence[str] = ()) -> None:
  """Serves the model that the flags select."""
  del argv
  with errors.setup():
    for module in ("starlette", "uvicorn"):
      packages.imported(module, server.EXTRA, server.WHY)
    if flags.FLAGS.checkpoint is None:
      raise validate.error(
        "--checkpoint", None, "a trained model, or a directory of one"
      )
    compile_cache.enable()
    path = pathlib.Path(flags.FLAGS.checkpoint)
    model = read(path)
    if model is not None and model.parts.stream is not None:
      _check_flags(model.kind, serve_flags.OF_LANGUAGE)
      app_served = item_server.make_app(
        model,
        users=flags.FLAGS.users,
        name_length=flags.FLAGS.name_length,
      )
    else:
      _check_flags("language", serve_flags.OF_RECOMMENDATION)
      loading = Loading(
        **{
          field.name: flags.FLAGS[field.name].value
          for field in dataclasses.fields(Loading)
        }
      )
      # Loading may take minutes: all that flags alone can say comes before it.
      config = make_config()
      served = of_model(path, model, loading)
      served = with_states(served, flags.FLAGS.initial_states)
      directory = path if path.is_dir() else path.parent
      name = flags.FLAGS.name or directory.resolve().name
      app_served = make_app(served, config, name)
  server.serve(
    app_served,
    flags.FLAGS.host,
    flags.FLAGS.port,
    flags.FLAGS.grace,
    connections=flags.FLAGS.connections,
    request_timeout=flags.FLAGS.request_timeout,
  )
