"""Costs of a row of documents on a group of devices, in seconds and bytes.

The model of FlexSP (Wang et al., arXiv:2412.01523, equations 11 to 14), with a
second kind for recurrent mixers, whose only exchange is one state per row.
"""

from collections.abc import Sequence
import dataclasses
import math

import numpy as np

from jaxseq import validate

KINDS = ("attention", "recurrent")


@dataclasses.dataclass(frozen=True)
class CostModel:
  """Seconds and bytes of one row on a group of `degree` devices.

    time = (sum_k square_seconds s_k^2 + token_seconds tokens) / degree
         + comm(degree, tokens) + row_overhead

  where `tokens` are those of the documents and the padding of the row. A group
  of one device exchanges nothing. Between the devices of a larger one:

    attention  all-to-all of activations, forward and backward:
      8 layers latency + exchange_bytes tokens / (degree bandwidth)
    recurrent  an all-gather of one state per layer and its transpose, whatever
      the length of the row and however many documents it holds:
      2 layers (latency log2(degree) + (degree - 1) state_bytes / bandwidth)

  Attributes:
    kind: "attention" or "recurrent".
    token_seconds: seconds per token of one device (a2 in FlexSP).
    square_seconds: seconds per squared length of a document (a1); 0 for
      recurrent mixers.
    bytes_per_token: activations per token.
    fixed_bytes: parameters, gradients and optimizer on every device.
    row_overhead: seconds per row, whatever it holds.
    layers: number of layers that exchange.
    latency: seconds per collective.
    exchange_bytes: attention: bytes per token of all layers' all-to-alls.
    state_bytes: recurrent: bytes of one layer's state.
    bandwidths: bytes per second inside groups of 2, 4, 8, ... devices; larger
      groups have the last one.
    chunks: rising tokens per device that rows are padded to, as
      `rows.chunk_sizes` returns them; no padding if empty.
  """

  kind: str
  token_seconds: float
  square_seconds: float = 0.0
  bytes_per_token: float = 1.0
  fixed_bytes: float = 0.0
  row_overhead: float = 0.0
  layers: int = 1
  latency: float = 0.0
  exchange_bytes: float = 0.0
  state_bytes: float = 0.0
  bandwidths: tuple[float, ...] = (math.inf,)
  chunks: tuple[int, ...] = ()

  def __post_init__(self):
    validate.choice("kind", self.kind, KINDS)
    validate.fields(self, above_zero=("token_seconds", "bytes_per_token"))
    if self.kind == "recurrent" and self.square_seconds:
      expected = "0 for recurrent mixers"
      raise validate.error("square_seconds", self.square_seconds, expected)
    if not self.bandwidths or not all(v > 0 for v in self.bandwidths):
      expected = "positive numbers, at least one"
      raise validate.error("bandwidths", self.bandwidths, expected)

  def bandwidth(self, degree: int) -> float:
    """Returns bytes per second inside a group of `degree` devices."""
    place = max(0, math.ceil(math.log2(degree)) - 1)
    return self.bandwidths[min(place, len(self.bandwidths) - 1)]

  def fixed_comm(self, degree: int) -> float:
    """Returns the seconds of communication per row, whatever it holds."""
    if degree == 1:
      return 0.0
    if self.kind == "attention":
      return 8 * self.layers * self.latency
    sent = (degree - 1) * self.state_bytes / self.bandwidth(degree)
    return 2 * self.layers * (self.latency * math.log2(degree) + sent)

  def token_comm(self, degree: int) -> float:
    """Returns the seconds of communication per token of a row."""
    if degree == 1 or self.kind == "recurrent":
      return 0.0
    return self.exchange_bytes / (degree * self.bandwidth(degree))

  def comm(self, degree: int, tokens: float) -> float:
    """Returns the seconds of communication of a row with `tokens` tokens."""
    return self.fixed_comm(degree) + self.token_comm(degree) * tokens

  def work(self, lengths) -> np.ndarray:
    """Returns the seconds of computing of documents, on one device each."""
    lengths = np.asarray(lengths, float)
    return lengths * (self.square_seconds * lengths + self.token_seconds)

  def padded(self, tokens, degree):
    """Returns the tokens of a row with its padding, array or not.

    A row that is longer than the longest chunks is not padded.
    """
    if not self.chunks:
      return tokens
    needed = -(-np.asarray(tokens) // degree)
    place = np.searchsorted(self.chunks, needed)
    sizes = np.append(self.chunks, 0)[place] * degree
    return np.maximum(sizes, tokens)

  def time(self, tokens_list: Sequence[int], degree: int) -> float:
    """Returns the seconds of a row that holds documents of these lengths."""
    tokens = np.sum(tokens_list)
    row = self.padded(tokens, degree)
    computing = np.sum(self.work(tokens_list)) / degree
    computing += self.token_seconds * (row - tokens) / degree
    return float(computing + self.comm(degree, row) + self.row_overhead)


def gpt_7b(kind: str = "attention", num_devices: int = 64) -> CostModel:
  """GPT-7B on A100s with 400 Gb/s between nodes of 8.

  Computing, activations and bandwidths up to 64 devices: the published code of
  FlexSP (hidden 4096, 32 layers, bfloat16, activation checkpointing).
  Bandwidths of 128, 256 and 512 devices, latency, the overhead of a row and the
  state of 1 MB per layer of the recurrent kind are assumptions.

  Args:
    kind: "attention" or "recurrent": the same model without the quadratic term
      and with another exchange.
    num_devices: devices that share the parameters and optimizer (ZeRO-3, 16
      bytes per parameter).

  Returns:
    The cost model.
  """
  layers, width, vocabulary = 32, 4096, 50257
  parameters = 12 * layers * width**2 + vocabulary * width
  return CostModel(
    kind=kind,
    token_seconds=0.18396e-3,
    square_seconds=5.128e-9 if kind == "attention" else 0.0,
    bytes_per_token=4.480e6,
    fixed_bytes=16 * parameters / num_devices,
    row_overhead=5e-3,
    layers=layers,
    latency=20e-6,
    # Queries, keys, values and outputs; forward and backward; 2 bytes.
    exchange_bytes=4 * 2 * layers * width * 2,
    state_bytes=1e6,
    bandwidths=tuple(
      1e9 * v for v in (119.5, 104.1, 96.5, 10.33, 5.94, 4.87, 4.4, 4.2, 4.0)
    ),
  )
