"""Models of text: the probability of each token, and the tokens that follow."""

import functools
from typing import TYPE_CHECKING
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxseq import data
from jaxseq import generation
from jaxseq import nn
from jaxseq.data import sources
from jaxseq.data import text_tokens
from jaxseq.models import predictions
from jaxseq.nn import masks
from jaxseq.tasks import language

if TYPE_CHECKING:
  from jaxseq.models.model import Model

NETWORK = nn.SequenceNetwork

# Elements of logits that are held at a time, and tokens of a piece at most.
_ELEMENTS = 2**24
_PIECE = 4096


def time_axis(network: nn.SequenceNetwork) -> int:
  """Returns which axis of the inputs is time."""
  del network
  return 1


def arguments(
  network: nn.SequenceNetwork, dataset: data.ArrayDataset
) -> dict[str, np.ndarray]:
  """Returns "tokens" (n, time) int32: texts, padded at their ends."""
  del network
  tokens = np.concatenate([dataset.inputs[:, :1], dataset.targets], axis=1)
  return {"tokens": tokens.astype(np.int32)}


def compute(
  network: nn.SequenceNetwork, variables: Any, arguments: dict[str, jax.Array]
) -> dict[str, jax.Array]:
  """Returns what the network says of whole texts at once.

  Returns:
    "log_probability" (n, time), of each token given those before it, and
    "probability" (n, vocabulary), of the token that follows the last.
  """
  tokens = arguments["tokens"]
  logits, _ = network.apply(variables, _inputs(tokens))
  logs = jax.nn.log_softmax(logits)
  return {
    "log_probability": _of(logs[:, :-1], tokens),
    "probability": jnp.exp(logs[:, -1]),
  }


def predict(model: "Model", examples: data.Examples) -> predictions.Predictions:
  """Returns a row for each token, and one for that after the last.

  Long texts are read in pieces, with the states carried from one to the next.

  Returns:
    The columns "id"; "position", from 0 on; "expected", the most probable token
    at that place, and "expected_probability"; and of tokens that are there
    "token" and its "probability". The last rows of texts, where these are
    empty, are what is to come; `arrays` has "probability" (n, vocabulary) of
    all tokens there, and "log_probability" (n, time).
  """
  tokens = arguments(model.network, examples.dataset)["tokens"]
  count, time = tokens.shape
  lengths = np.full(count, time)
  if examples.dataset.lengths is not None:
    # The first token is no target there.
    lengths = np.asarray(examples.dataset.lengths) + 1
  outputs = _read(model, tokens, lengths)
  shown = masks.inside(time + 1, lengths + 1)
  there = masks.inside(time + 1, lengths)
  names = np.array(
    model.preparation.tokens
    or tuple(map(str, range(model.network.num_outputs)))
  )
  padded = np.pad(tokens, [(0, 0), (0, 1)])
  logs = np.pad(outputs["log_probability"], [(0, 0), (0, 1)])
  return predictions.Predictions(
    {
      "id": np.repeat(np.array(examples.ids), lengths + 1),
      "position": predictions.places(lengths + 1),
      "expected": names[outputs["expected"]][shown],
      "expected_probability": outputs["expected_probability"][shown],
      "token": np.where(there, names[padded], "")[shown],
      "probability": np.where(there, np.exp(logs), np.float32(np.nan))[shown],
    },
    {k: outputs[k] for k in ("log_probability", "probability")},
  )


def continue_text(
  model: "Model", prompt: str, length: int, *, seed: int = 0, **options: Any
) -> str:
  """Continues a text with a model of bytes, or of a tokenizer's tokens.

  Args:
    model: of text.
    prompt: the beginning, of a document; it may be empty.
    length: tokens to generate.
    seed: of the sampling.
    **options: of `generation.generate`, such as temperature and top_k.

  Returns:
    The prompt and what follows.

  Raises:
    ValueError: if the tokens are no bytes and there is no tokenizer, or an
      option is out of range.
    MissingData: if the package of the tokenizer is not installed.
  """
  fits, text_codec = model.kind == "language", generation.Codec()
  if fits:
    text_codec = codec(model.preparation)
    fits = text_codec.tokenizer is not None or model.network.vocab_size == 256
  if not fits:
    raise ValueError(
      f"model: got one of {model.kind} with {model.network.num_outputs} "
      "outputs, expected one of a text of bytes, or with a tokenizer."
    )
  return generation.continue_text(
    model.network,
    model.variables,
    prompt,
    length,
    jax.random.key(seed),
    codec=text_codec,
    **options,
  )


def codec(prepared: data.Source | None) -> generation.Codec:
  """Returns how texts become tokens, as they did in training.

  Raises:
    MissingData: if the package of the tokenizer is not installed.
  """
  if not isinstance(prepared, sources.TextSource) or not prepared.tokenizer:
    return generation.Codec()
  return generation.Codec(text_tokens.read_tokenizer(prepared.tokenizer))


def _inputs(tokens):
  """Puts the token of a beginning in front."""
  return jnp.pad(tokens, [(0, 0), (1, 0)], constant_values=language.START)


def _of(logs, tokens):
  """Picks the entry of each token."""
  return jnp.take_along_axis(logs, tokens[..., None], axis=-1)[..., 0]


def _read(model, tokens, lengths):
  """Reads texts in pieces; returns arrays (n, time + 1) and the last logits."""
  vocab = model.network.num_outputs
  inputs = np.pad(tokens, [(0, 0), (1, 0)], constant_values=language.START)
  targets = np.pad(tokens, [(0, 0), (0, 1)])
  size = min(inputs.shape[1], max(1, min(_PIECE, _ELEMENTS // vocab)))
  rows = max(1, _ELEMENTS // (vocab * size))
  pieces = -(-inputs.shape[1] // size)
  padding = [(0, 0), (0, pieces * size - inputs.shape[1])]
  inputs, targets = np.pad(inputs, padding), np.pad(targets, padding)
  variables = jax.device_put(model.variables)
  piece = jax.jit(functools.partial(_piece, model.network))
  parts = []
  for first in range(0, len(tokens), rows):
    states = None
    last = np.zeros((len(tokens[first : first + rows]), vocab), np.float32)
    pieces_read = []
    for start in range(0, pieces * size, size):
      place = np.s_[first : first + rows], np.s_[start : start + size]
      if states is None:
        states = model.network.initial_state((len(last),))
      states, out = piece(variables, states, inputs[place], targets[place])
      logs, best, likely = map(np.asarray, out[:3])
      pieces_read.append((logs, best, likely))
      ends = lengths[first : first + rows] - start
      here = (ends >= 0) & (ends < size)
      last[here] = np.asarray(out[3])[here, ends[here]] if here.any() else 0
    parts.append(
      (*map(functools.partial(np.concatenate, axis=1), zip(*pieces_read)), last)
    )
  logs, best, likely, last = map(np.concatenate, zip(*parts))
  time = tokens.shape[1]
  return {
    "log_probability": logs[:, :time],
    "expected": best[:, : time + 1],
    "expected_probability": likely[:, : time + 1],
    "probability": last,
  }


def _piece(network, variables, states, inputs, targets):
  """Reads a piece of texts."""
  logits, states = network.apply(variables, inputs, states)
  logs = jax.nn.log_softmax(logits)
  probability = jnp.exp(logs)
  best = jnp.argmax(logits, axis=-1)
  return states, (
    _of(logs, targets),
    best,
    jnp.max(probability, axis=-1),
    probability,
  )
