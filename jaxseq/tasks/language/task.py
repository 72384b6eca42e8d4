"""Next-token prediction on one long text, with states carried along it.

The text is a single array of tokens; documents are concatenated in it, and a
flag at the first token of each resets the network's states there. Training
reads the text as parallel streams, chunk by chunk: the states after a chunk are
the initial ones of the next (gradients stop there).
"""

import functools
import math
from typing import NamedTuple

import jax
from jax import lax
import jax.numpy as jnp
import numpy as np

from jaxseq import data
from jaxseq import nn
from jaxseq import validate
from jaxseq.data import text_tokens
from jaxseq.nn import masks
from jaxseq.tasks import base
from jaxseq.tasks import outputs
from jaxseq.tasks import task
from jaxseq.tasks.language import baselines as text_baselines
from jaxseq.tasks.language import token_rows
from jaxseq.training import supervised
from jaxseq.training.comparison import arms
from jaxseq.types import PyTree

# Input token at the beginning of a document.
START = text_tokens.START

# Maximum number of logits in memory, and of tokens of a chunk.
_ELEMENTS = 2**24
_PIECE = 4096


class Text(NamedTuple):
  """A text.

  Attributes:
    tokens: (n,) integers, uint8 for bytes.
    starts: (n,) bool, True at the first token of a document.
  """

  tokens: np.ndarray
  starts: np.ndarray


class Corpus(NamedTuple):
  """A text divided into training, validation and test parts, in this order.

  Attributes:
    train: in memory, or documents that may be on disk.
    vocab_size: number of tokens.
    digest: sha256 of the files of the documents.
  """

  train: Text | token_rows.Documents
  valid: Text
  test: Text
  vocab_size: int
  digest: str | None = None


def from_splits(splits: data.Splits) -> Corpus:
  """Converts a text of `jaxseq.data` to a corpus.

  Args:
    splits: parts with targets (1, n), the tokens, and perhaps
      extras.document_starts (1, n), True at the first token of a document, or
      in the training part extras.document_offsets.

  Raises:
    ValueError: if the parts are not texts.
  """

  def part(dataset):
    tokens = dataset.targets
    if tokens.ndim != 2 or len(tokens) != 1:
      shape = f"shape {tokens.shape}"
      raise validate.error("the data", shape, "one text, (1, n) tokens")
    if dataset.extras.document_offsets is not None:
      offsets = dataset.extras.document_offsets[0]
      return token_rows.Documents(tokens[0], offsets)
    starts = np.zeros(tokens.shape[1], bool)
    if dataset.extras.document_starts is not None:
      starts = np.array(dataset.extras.document_starts[0], bool)
    starts[0] = True
    return Text(tokens[0], starts)

  train, valid, test, info = splits
  return Corpus(
    part(train), part(valid), part(test), info.vocab_size, info.digest
  )


def first(text: Text, count: int) -> Text:
  """Returns the first tokens of a text (n,), or all if it is shorter."""
  return Text(*(x[:count] for x in text))


def streams(text: Text, count: int) -> Text:
  """Cuts a text into equally long consecutive streams, side by side.

  Args:
    text: (n,) arrays.
    count: number of streams.

  Returns:
    (count, n // count) arrays; the remaining tokens, fewer than `count`, are
    dropped.

  Raises:
    ValueError: if there are more streams than tokens.
  """
  each = len(text.tokens) // count
  if each < 1:
    expected = f"at most {len(text.tokens)}, the number of tokens"
    raise validate.error("count", count, expected)
  return Text(*(x[: count * each].reshape(count, each) for x in text))


class Problem:
  """Predicting each token of a text from those before it.

  Args:
    arm: network and batch size, the number of parallel streams.
    corpus: the text.
    length: tokens of a chunk.
    jump_every: consecutive chunks that a stream reads before it continues at a
      random place with fresh states; None for streams that never jump, each
      with an equal part of the text. Neighboring chunks are similar: with few
      streams, jumps make the batches more varied.
    valid_tokens: number of tokens of the validation part that an evaluation
      reads, in `arm.batch_size` streams.
    start: input token at the beginning of a document.

  Raises:
    ValueError: if the text is too short for the streams, or the network pools.
  """

  def __init__(
    self,
    arm: base.ArmConfig,
    corpus: Corpus,
    *,
    length: int,
    jump_every: int | None = None,
    valid_tokens: int = 65_536,
    start: int = START,
  ):
    self.start = start
    self.part: arms.Part = "validation"
    if jump_every is not None:
      validate.positive("jump_every", jump_every)
    base.check_pooling(arm.network, False, "every token is predicted")
    count = arm.batch_size
    pieces = len(corpus.train.tokens) // (count * length)
    if pieces < 1:
      raise ValueError(
        f"batch_size * length: got {count} * {length}, expected at most "
        f"{len(corpus.train.tokens)}, the number of training tokens; set "
        "--config.batch_size or --config.length."
      )
    part = count * pieces * length
    train = streams(first(corpus.train, part), count)
    valid = streams(first(corpus.valid, valid_tokens), count)
    self.length, self.pieces, self.jump_every = length, pieces, jump_every
    self.network = make_network(arm, corpus)
    self.data = {"train": train, "valid": valid}
    self.carry = self.network.initial_state((count,))

  def init(self, key: jax.Array) -> base.PyTree:
    """Returns the initial variables of the network."""
    return self.network.init(key, jnp.zeros((1, 1), jnp.int32))

  def sample(
    self, key: jax.Array, update: jax.Array, data: base.PyTree
  ) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Returns the next chunk of each stream, see `window`."""
    train, length = data["train"], self.length
    if self.jump_every is None:
      # Streams begin where the text was cut, and start again after its end.
      begin = update % self.pieces * length
      return window(train, begin, length, self.start)
    turn, piece = update // self.jump_every, update % self.jump_every
    starts = jax.random.randint(
      jax.random.fold_in(key, turn),
      train.tokens.shape[:1],
      0,
      self.pieces * length,
    )
    return _jumped(train, starts, piece * length, length, self.start)

  def loss(
    self,
    variables: base.PyTree,
    batch: tuple[jax.Array, jax.Array, jax.Array],
    carry: base.PyTree,
    key: jax.Array,
  ) -> tuple[jax.Array, supervised.Loss]:
    """Returns the mean cross-entropy in nats; carries the states."""
    inputs, targets, reset = batch
    (logits, states), collections, penalty = base.in_training(
      self.network, variables, key, inputs, carry, reset
    )
    value, accuracy, _ = base.cross_entropy(logits, targets)
    metrics = {
      "train_bits_per_token": value / math.log(2),
      "train_accuracy": accuracy,
    }
    carry = jax.tree.map(lax.stop_gradient, states)
    return value + penalty, supervised.Loss(metrics, collections, carry)

  def validate(
    self, variables: base.PyTree, data: base.PyTree
  ) -> supervised.Metrics:
    """Returns "bits_per_token" of the validation part."""
    length = max(self.length, 512)
    bits = bits_per_token(
      self.network, variables, data["valid"], length, self.start
    )
    return {"bits_per_token": bits}

  # The callers that report test scores read the whole test part.
  evaluate = validate


def make_network(arm: base.ArmConfig, corpus: Corpus) -> nn.SequenceNetwork:
  """Returns the network of an arm."""
  return nn.SequenceNetwork(arm.network, corpus.vocab_size, corpus.vocab_size)


def bits_per_token(
  network: nn.SequenceNetwork,
  variables: base.PyTree,
  text: Text,
  length: int,
  first: int = START,
) -> jax.Array:
  """Scores all tokens of a text, with states carried from chunk to chunk.

  Args:
    network: the network.
    variables: variables of the network.
    text: (streams, n) arrays; every stream begins with fresh states.
    length: tokens of a chunk; it affects only memory and speed.
    first: input token at the beginning of a document.

  Returns:
    The mean negative log-likelihood in bits.
  """
  count, total = text.tokens.shape
  length = min(length, total)
  states = network.initial_state((count,), variables=variables)
  whole, rest = divmod(total, length)

  def piece(states, start, size):
    inputs, targets, starts = window(text, start, size, first)
    logits, states = network.apply(variables, inputs, states, starts)
    nats, _, scored = base.cross_entropy(logits, targets)
    return states, nats * scored

  states, nats = lax.scan(
    lambda states, i: piece(states, i * length, length),
    states,
    jnp.arange(whole),
  )
  nats = nats.sum()
  if rest:
    nats = nats + piece(states, whole * length, rest)[1]
  return nats / (count * total) / math.log(2)


def window(
  text: Text, start: jax.Array | int, length: int, first: int = START
) -> tuple[jax.Array, jax.Array, jax.Array]:
  """Returns inputs, targets and resets of a chunk.

  Args:
    text: (streams, n) arrays.
    start: start of the chunk; may be traced.
    length: number of its tokens.
    first: input token at the beginning of a document.

  Returns:
    The tokens shifted by one, int32, with `first` at the beginning of a
    document; the tokens of the chunk, int32; and flags of first tokens, bool;
    all (streams, length). The first chunk begins with a document.
  """
  targets = _slice(text.tokens, start, length).astype(jnp.int32)
  starts = _slice(text.starts, start, length)
  before = _slice(text.tokens, jnp.maximum(start - 1, 0), 1).astype(jnp.int32)
  inputs = jnp.concatenate([before, targets[:, :-1]], axis=1)
  starts = starts | _first(length, start == 0)
  return jnp.where(starts, first, inputs), targets, starts


def _jumped(text: Text, begins, offset, length, first):
  """The window of each stream, a ring, `offset` tokens after its jump."""
  total = text.tokens.shape[1]
  index = (begins[:, None] + offset + jnp.arange(-1, length)) % total

  def take(x):
    return jnp.take_along_axis(x, index, axis=1)

  tokens = take(text.tokens).astype(jnp.int32)
  starts = take(text.starts)[:, 1:]
  # A stream starts afresh after a jump, and when it wraps around.
  starts = starts | _first(length, offset == 0)
  starts = starts | (index[:, 1:] == 0)
  return jnp.where(starts, first, tokens[:, :-1]), tokens[:, 1:], starts


def _first(length, mask):
  """A mask of the first element if `mask` is True, else all False."""
  # By comparison: if XLA splits time over devices, writing one element of a
  # bool array is wrong in jax 0.11.2.
  return (jnp.arange(length) == 0) & mask


def _slice(x, start, length):
  return lax.dynamic_slice_in_dim(x, start, length, axis=1)


def _arguments(network, dataset):
  """Returns "tokens" (n, time) int32: texts, padded at the end."""
  del network
  tokens = np.concatenate([dataset.inputs[:, :1], dataset.targets], axis=1)
  return {"tokens": tokens.astype(np.int32)}


def compute(
  network: nn.SequenceNetwork,
  variables: PyTree,
  arguments: dict[str, jax.Array],
) -> dict[str, jax.Array]:
  """Returns the network's probabilities of whole texts.

  Returns:
    "log_probability" (n, time), of each token given those before it, and
    "probability" (n, vocabulary), of the token that follows the last.
  """
  tokens = arguments["tokens"]
  inputs = jnp.pad(tokens, [(0, 0), (1, 0)], constant_values=START)
  logits, _ = network.apply(variables, inputs)
  logs = jax.nn.log_softmax(logits)
  return {
    "log_probability": _of(logs[:, :-1], tokens),
    "probability": jnp.exp(logs[:, -1]),
  }


def _predict(model, examples):
  """Returns a row for each token, and one for the token after the last."""
  tokens = _arguments(model.network, examples.dataset)["tokens"]
  count, time = tokens.shape
  lengths = np.full(count, time)
  if examples.dataset.lengths is not None:
    # The first token is not a target there.
    lengths = np.asarray(examples.dataset.lengths) + 1
  arrays = _read(model, tokens, lengths)
  shown = masks.inside(time + 1, lengths + 1)
  there = masks.inside(time + 1, lengths)
  names = np.array(
    model.preparation.tokens
    or tuple(map(str, range(model.network.num_outputs)))
  )
  padded = np.pad(tokens, [(0, 0), (0, 1)])
  likely = np.exp(np.pad(arrays["log_probability"], [(0, 0), (0, 1)]))
  columns = outputs.rows(examples.ids, shown, "position") | {
    "expected": names[arrays["expected"]][shown],
    "expected_probability": arrays["expected_probability"][shown],
    "token": np.where(there, names[padded], "")[shown],
    "probability": np.where(there, likely, np.float32(np.nan))[shown],
  }
  return columns, {k: arrays[k] for k in ("log_probability", "probability")}


def _of(logs, tokens):
  """Selects the entry of each token."""
  return jnp.take_along_axis(logs, tokens[..., None], axis=-1)[..., 0]


def _read(model, tokens, lengths):
  """Reads texts in chunks; returns arrays (n, time + 1) and last logits."""
  vocab = model.network.num_outputs
  inputs = np.pad(tokens, [(0, 0), (1, 0)], constant_values=START)
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
        states = model.network.initial_state((len(last),), variables=variables)
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
  """Reads a chunk of texts."""
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


TASK = task.Task(
  name="language",
  arm=base.ArmConfig,
  problem=lambda arm, corpus, config: Problem(
    arm,
    corpus,
    length=config.length,
    jump_every=config.jump_every,
    valid_tokens=config.valid_tokens,
  ),
  metric="bits_per_token",
  better="lower",
  unit="bytes",
  columns={"bits_per_token": "validation", "test_bits": "whole test text"},
  kind="language",
  outputs=outputs.Outputs(
    network=nn.SequenceNetwork,
    arguments=_arguments,
    compute=compute,
    predict=_predict,
  ),
  baselines=lambda corpus, config, part: text_baselines.rows(corpus, part),
  title="{subject}, bits per byte",
  source=from_splits,
  examples=lambda arm, problem: arm.batch_size * problem.length,
  ylabel="bits per byte",
  own_files=task.OwnFiles(
    # The validation part is long.
    fields={"num_seeds": 1, "length": 128, "chunks_per_evaluation": 5},
    by_data={"text_files": {"jump_every": 8}},
    stack={"d_model": 192, "num_layers": 3, "dropout": 0.0},
    mixers=("mamba",),
  ),
)
