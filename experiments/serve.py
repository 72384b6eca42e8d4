r"""A server of the completions interface for a language model.

    python -m experiments.serve --checkpoint=DIR/ARM --port=8000
    curl http://127.0.0.1:8000/v1/completions \
      -d '{"prompt": "In the beginning", "max_tokens": 80, "temperature": 0.8}'

The checkpoint is a model that `experiments.language_model` wrote
(`DIR/ARM/model.safetensors`, or its directory), or a directory of a pretrained
model with `config.json`, as `interop.huggingface` reads it; its tokenizer is
`tokenizer.json` there, and bytes if there is none. Clients of the interface
find it at `/v1`; `/health` and `/metrics` are beside it. SIGTERM lets answers
that have begun come to their ends; those that would take longer than `--grace`
get an error. Nothing but this machine reaches the server unless `--host` says
otherwise, and it asks nobody who they are.
"""

import json
import pathlib
from typing import Any
from typing import NamedTuple

from absl import flags
from absl import logging

from jaxseq import _validate
from jaxseq import generation
from jaxseq import interop
from jaxseq import models
from jaxseq.data import packages
from jaxseq.data import text_tokens
from jaxseq.generation import completions
from jaxseq.generation import engine_thread
from jaxseq.generation import pattern_pool
from jaxseq.generation import server
from jaxseq.models import token_model
from jaxseq.training import app
from jaxseq.training import errors

_CHECKPOINT = flags.DEFINE_string(
  "checkpoint", None, "a trained model, or a directory of one"
)
_HOST = flags.DEFINE_string("host", "127.0.0.1", "address to listen at")
_PORT = flags.DEFINE_integer(
  "port", 8000, "port to listen at", lower_bound=0, upper_bound=65535
)
_NAME = flags.DEFINE_string("name", None, "of the model; its directory's")
_SLOTS = flags.DEFINE_integer(
  "slots", 16, "rows that tokens are drawn for at a time", lower_bound=1
)
_STEPS = flags.DEFINE_integer(
  "steps", 8, "tokens of each row that are drawn at a time", lower_bound=1
)
_WAITING = flags.DEFINE_integer(
  "waiting", 256, "rows that wait; more are refused", lower_bound=0
)
_TIMEOUT = flags.DEFINE_float(
  "timeout", 600.0, "seconds that an answer may take", lower_bound=0.001
)
_MAX_TOKENS = flags.DEFINE_integer(
  "max_tokens", 4096, "the most tokens of an answer", lower_bound=1
)
_PREFIX_BYTES = flags.DEFINE_integer(
  "prefix_bytes",
  2**28,
  "memory for states of prompts that may come again; 0 for none",
  lower_bound=0,
)
_PATTERN_BYTES = flags.DEFINE_integer(
  "pattern_bytes",
  2**28,
  "memory, at most, for tables of requests' regular expressions; 0 for none",
  lower_bound=0,
)
_DRAFTS = flags.DEFINE_string(
  "drafts",
  None,
  "several tokens in one pass: 'recycling', or a smaller model of the same "
  "tokens, as --checkpoint",
)
_GRACE = flags.DEFINE_float(
  "grace", 30.0, "seconds for answers to end after SIGTERM", lower_bound=1.0
)


class Served(NamedTuple):
  """A model to serve.

  Attributes:
    network: of tokens.
    variables: of the network.
    codec: of its texts.
    stop_tokens: tokens that end a text.
  """

  network: Any
  variables: Any
  codec: generation.Codec
  stop_tokens: tuple[int, ...]


def load(path: pathlib.Path) -> Served:
  """Loads a checkpoint.

  Args:
    path: a file of `jaxseq.models`, a directory that holds it, or one of a
      pretrained model.

  Raises:
    ValueError: if there is no model, or none of a text.
    OSError: if a file cannot be read.
  """
  described = path / "config.json"
  if described.is_file():
    contents = json.loads(described.read_bytes())
    if isinstance(contents, dict) and "model_type" in contents:
      return _pretrained(path, contents)
  if path.is_dir():
    file = path / models.model_file.NAME
    if not file.is_file():
      arms = sorted(
        each.parent.name for each in path.glob(f"*/{models.model_file.NAME}")
      )
      listed = f"one of its arms ({', '.join(arms)})" if arms else "one with"
      listed += "" if arms else f" {models.model_file.NAME} or config.json"
      raise _validate.error("--checkpoint", str(path), listed)
    path = file
  model = models.load(path)
  if model.kind != "language":
    raise _validate.error("--checkpoint", model.kind, "a model of language")
  codec = token_model.codec(model.preparation)
  if codec.tokenizer is None:
    _check_bytes(model.network.vocab_size)
  return Served(model.network, model.variables, codec, ())


def _pretrained(path, contents):
  """A model of the transformers library."""
  config, variables = interop.huggingface.load(path)
  network = interop.huggingface.make_network(config, variables)
  file = path / "tokenizer.json"
  if not file.is_file():
    _check_bytes(network.vocab_size)
    return Served(network, variables, generation.Codec(), ())
  tokenizer = text_tokens.read_tokenizer(file.read_text(), str(file))
  return Served(
    network,
    variables,
    generation.Codec(tokenizer, start=None),
    server.stop_tokens(contents.get("eos_token_id")),
  )


def _check_bytes(vocab_size):
  """Refuses a vocabulary without a tokenizer that is none of bytes."""
  if vocab_size != 256:
    raise _validate.error(
      "--checkpoint",
      f"{vocab_size} tokens without a tokenizer",
      "a tokenizer, or 256 tokens: bytes",
    )


def make_patterns(
  served: Served, memory: int
) -> generation.PatternConfig | None:
  """Returns the room for requests' patterns; None, with a warning, if none is.

  Args:
    served: the model.
    memory: bytes; 0 for no room.

  Raises:
    ValueError: if the memory has room for next to nothing.
  """
  if not memory:
    return None
  vocab_size = served.network.vocab_size
  # Half holds what is compiled and waits for its rows.
  each = 2 * pattern_pool.row_bytes(vocab_size)
  # More than any pattern that somebody writes by hand.
  states = min(16_384, memory // each)
  if states < 64:
    least = 64 * each
    raise _validate.error(
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
  """Returns what `--drafts` says, as options of the engine.

  Raises:
    ValueError: as `load`.
    OSError: as `load`.
  """
  if drafts is None:
    return {}
  if drafts == "recycling":
    # A small tree, which pays where a pass over more tokens costs more.
    draft = generation.recycling.Recycling(generation.recycling.SMALL_TREE)
    return {"drafts": draft}
  small = load(pathlib.Path(drafts))
  return {
    "drafts": generation.draft_model.DraftModel(small.network),
    "memory": generation.draft_model.Memory(small.variables),
  }


def make_app(served: Served, name: str) -> Any:
  """Returns the application that the flags describe."""
  cache = None
  if _PREFIX_BYTES.value:
    cache = generation.PrefixCache(_PREFIX_BYTES.value)
  engine = generation.Engine(
    served.network,
    served.variables,
    generation.EngineConfig(slots=_SLOTS.value, steps=_STEPS.value),
    cache=cache,
    patterns=make_patterns(served, _PATTERN_BYTES.value),
    **make_drafts(_DRAFTS.value),
  )
  # No client should wait for what is compiled.
  engine.warm_up()
  config = server.ServerConfig(
    model=name,
    timeout=_TIMEOUT.value,
    limits=completions.Limits(max_tokens=_MAX_TOKENS.value),
    stop_tokens=served.stop_tokens,
  )
  worker = engine_thread.EngineThread(engine, _WAITING.value)
  return server.make_app(worker, served.codec, config)


def main(argv: list[str]) -> None:
  """Serves what the flags describe."""
  del argv
  with errors.setup():
    for module in ("starlette", "uvicorn"):
      packages.imported(module, server.EXTRA, server.WHY)
    if _CHECKPOINT.value is None:
      raise _validate.error(
        "--checkpoint", None, "a trained model, or a directory of one"
      )
    path = pathlib.Path(_CHECKPOINT.value)
    served = load(path)
    directory = path if path.is_dir() else path.parent
    made = make_app(served, _NAME.value or directory.resolve().name)
  server.serve(made, _HOST.value, _PORT.value, _GRACE.value)


if __name__ == "__main__":
  app.run_main(main)
