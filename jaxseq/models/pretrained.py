"""Language models of the transformers library, from texts to texts.

    model = pretrained.load("path/to/model")
    answers = model.generate(["Where is Oslo?"], 200, temperature=0.7)
    print(answers.texts[0], answers.lengths[0])

Rows end at the end tokens of the model's files.
"""

from collections.abc import Sequence
import dataclasses
import functools
import os
import pathlib
from typing import Any
from typing import NamedTuple

from absl import logging
import numpy as np

from jaxseq import generation
from jaxseq import limits
from jaxseq import nn
from jaxseq.data import chats
from jaxseq.data import datasets
from jaxseq.data import text_tokens
from jaxseq.generation import streaming
from jaxseq.interop import huggingface
from jaxseq.training import compile_cache
from jaxseq.types import PyTree


class Generated(NamedTuple):
  """Continuations of prompts.

  Attributes:
    tokens: (prompts, length) int32; after the end of a row its last token is
      repeated.
    lengths: (prompts,) integers, the tokens of each row, including its end
      token.
    log_probs: (prompts, length), log probabilities of the tokens; 0 after the
      end.
    reasons: end reason of each row: "stop" or "length".
    texts: text of each row, without the end token; empty if there is no
      tokenizer.
  """

  tokens: np.ndarray
  lengths: np.ndarray
  log_probs: np.ndarray
  reasons: tuple[str, ...]
  texts: tuple[str, ...]


@dataclasses.dataclass(frozen=True, eq=False)
class Pretrained:
  """A language model loaded from its directory.

  Attributes:
    network: a token network.
    variables: variables of the network.
    codec: text codec; None if there is no tokenizer and tokens are not bytes.
    stop_tokens: tokens that end a text, from the model's files.
    positions: number of tokens that full attention sees; None for no limit.
    template: chat template; None if the model has none.
  """

  network: nn.SequenceNetwork
  variables: PyTree
  codec: generation.Codec | None
  stop_tokens: tuple[int, ...]
  positions: int | None = None
  template: chats.Template | None = None

  def engine(
    self, config: generation.EngineConfig | None = None, **options: Any
  ) -> generation.Engine:
    """Returns an engine whose rows end at the model's end tokens.

    Args:
      config: sizes of the engine.
      **options: options of `generation.Engine`.
    """
    config = generation.EngineConfig() if config is None else config
    options = {"stop": self.stop_tokens} | options
    return generation.Engine(self.network, self.variables, config, **options)

  def generate(
    self, prompts: Sequence[Any], length: int, *, seed: int = 0, **options: Any
  ) -> Generated:
    """Continues prompts up to the model's end tokens.

    Programs are compiled once for all prompts and lengths. A row's tokens
    depend on its prompt, the seed and its index.

    Args:
      prompts: texts, if there is a codec, or int tokens (time,), of any
        lengths.
      length: largest number of new tokens.
      seed: seed of the sampling; row i uses `seed + i`.
      **options: fields of `generation.Sampling`; `stop` adds end tokens to the
        model's own.

    Raises:
      ValueError: if a prompt or an option is wrong.
    """
    sampling = generation.token_sampling.from_options(options)
    rows = self._engine.run(
      generation.Request(
        streaming.encoded(prompt, self.codec),
        length,
        sampling=sampling,
        seed=seed + i,
      )
      for i, prompt in enumerate(_listed(prompts))
    )
    tokens = np.zeros((len(rows), length), np.int32)
    log_probs = np.zeros((len(rows), length), np.float32)
    for i, (row,) in enumerate(rows):
      tokens[i] = row.tokens[-1]
      tokens[i, : len(row.tokens)] = row.tokens
      log_probs[i, : len(row.tokens)] = row.log_probs
    results = [row for (row,) in rows]
    texts = ()
    if self.codec is not None:
      pairs = zip(results, prompts)
      texts = tuple(self._text(*pair) for pair in pairs)
    return Generated(
      tokens,
      np.array([len(row.tokens) for row in results]),
      log_probs,
      tuple(row.reason for row in results),
      texts,
    )

  @functools.cached_property
  def _engine(self):
    """Returns the engine of `generate`."""
    return self.engine()

  def _text(self, row, prompt):
    """Returns the text of a row."""
    tokens = row.tokens[: -1 if row.reason == "stop" else None]
    return self.codec.decode(tokens, streaming.encoded(prompt, self.codec))


def load(
  directory: str | os.PathLike,
  *,
  context: int | None = None,
  param_dtype: str = "float32",
  adapter: str | os.PathLike | None = None,
  quantize: Any = None,
  stream_to: str | os.PathLike | None = None,
  memory: int | str | None = None,
  predictors: Any = None,
) -> Pretrained:
  """Loads a model directory, with its tokenizer and template if present.

  Compiled programs are cached on disk for later processes, see
  `training.compile_cache`.

  Args:
    directory: directory of the model.
    context: longest context; options are those of `huggingface.load`.
    param_dtype: dtype of the parameters.
    adapter: directory of an adapter to merge.
    quantize: options of rounding weights to 8 bits, if any.
    stream_to: a file from which feed-forwards are computed.
    memory: bytes of weights in memory, with `stream_to`.
    predictors: predictors of active neurons, with `stream_to`.

  Raises:
    ValueError: as `huggingface.load`, or if the tokenizer cannot be read.
    OSError: if a file cannot be read.
    MissingData: if the package tokenizers is not installed.
  """
  compile_cache.enable()
  directory = pathlib.Path(directory)
  options = {"context": context, "adapter": adapter, "quantize": quantize}
  options |= {"stream_to": stream_to, "memory": memory}
  options["predictors"] = predictors
  config, variables = huggingface.load(
    directory, param_dtype=param_dtype, **options
  )
  network = huggingface.make_network(config, variables)
  file, codec, template = directory / "tokenizer.json", None, None
  if file.is_file():
    text = limits.read_text(file, limits.JSON)
    tokenizer = text_tokens.read_tokenizer(text, str(file))
    codec = generation.Codec(tokenizer, start=None)
    template = _template(directory)
  elif network.vocab_size == 256:
    codec = generation.Codec()
  return Pretrained(
    network,
    variables,
    codec,
    huggingface.stop_tokens(directory),
    huggingface.open_model(directory, context, quiet=True).positions,
    template,
  )


def _listed(prompts):
  """Raises a ValueError for one prompt instead of a list."""
  if isinstance(prompts, str | bytes):
    raise ValueError(
      f"prompts: got {prompts!r}, expected a list of them. Put it into one."
    )
  return prompts


def _template(directory):
  """Returns a model's chat template; warns and returns None if unreadable."""
  try:
    return chats.read_template(directory)
  except (ValueError, datasets.MissingData) as error:
    logging.warning("Requests cannot be chats: %s", error)
    return None
