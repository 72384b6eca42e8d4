"""Tasks on signals: delay, and the adding problem.

Sources: delay is a task of the code of arXiv 2111.00396 (S4), with white noise
below a cut-off frequency as in Nengo; adding is of Hochreiter and
Schmidhuber, Neural Computation 9(8), 1997, in the form of arXiv 1504.00941.
"""

import dataclasses

import jax
import jax.numpy as jnp

from jaxseq import validate
from jaxseq.data.tokens import sampling


@dataclasses.dataclass(frozen=True)
class DelayConfig(sampling.GivenLength):
  """Options of delay.

  Attributes:
    length: number of samples.
    delay: number of samples between input and target; the target starts with
      that many zeros.
    bandwidth: highest frequency of the signal as a share of half the sampling
      rate, in 0 .. 1.
    rms: root mean square of the signal.
  """

  length: int = 4000
  delay: int = 1000
  bandwidth: float = 0.25
  rms: float = 0.5

  vocab_size = None
  num_classes = None
  features = 1

  def __post_init__(self):
    validate.at_least(self, length=2, delay=0)
    if self.delay >= self.length:
      expected = f"less than length = {self.length}"
      raise validate.error("delay", self.delay, expected)
    validate.fraction("bandwidth", self.bandwidth)
    if int(self.bandwidth * (self.length // 2)) < 1:
      expected = (
        f"at least {2 / self.length}, or length = {self.length} has no "
        "frequency"
      )
      raise validate.error("bandwidth", self.bandwidth, expected)
    validate.above_zero("rms", self.rms)


@dataclasses.dataclass(frozen=True)
class AddingConfig(sampling.GivenLength):
  """Options of the adding problem.

  Attributes:
    length: number of elements, at least 2.
  """

  length: int = 100

  vocab_size = None
  num_classes = None
  features = 2

  def __post_init__(self):
    validate.at_least(self, length=2)


def sample_delay(key: jax.Array, config: DelayConfig) -> sampling.TokenBatch:
  """Samples band-limited white noise and the same noise delayed.

  Inputs and targets (time, 1) float32, all scored.
  """
  size = config.length
  top = int(config.bandwidth * (size // 2))

  noise = jax.random.normal(key, (2, top))
  spectrum = jnp.zeros(size // 2 + 1, jnp.complex64)
  # No constant part: frequency 0 stays empty.
  spectrum = spectrum.at[1 : top + 1].set(noise[0] + 1j * noise[1])
  signal = jnp.fft.irfft(spectrum, size)
  signal *= config.rms / jnp.sqrt(jnp.mean(signal**2))
  later = jnp.pad(signal, (config.delay, 0))[:size]
  return sampling.TokenBatch(
    signal[:, None], later[:, None], jnp.ones(size, jnp.bool_)
  )


def sample_adding(key: jax.Array, config: AddingConfig) -> sampling.TokenBatch:
  """Samples the adding problem: the sum of two marked numbers.

  Inputs (time, 2): numbers uniform in 0 .. 1, and marks that are 1 once in
  each half; targets (time, 1): the sum of the marked numbers at the last
  element, the only one scored.
  """
  size = config.length

  key_numbers, key_first, key_second = jax.random.split(key, 3)
  numbers = jax.random.uniform(key_numbers, (size,))
  first = sampling.integers(key_first, (), 0, size // 2)
  second = sampling.integers(key_second, (), size // 2, size)
  marks = jnp.zeros(size).at[jnp.stack([first, second])].set(1)
  targets = jnp.zeros((size, 1)).at[-1].set(jnp.sum(marks * numbers))
  return sampling.TokenBatch(
    jnp.stack([numbers, marks], -1), targets, jnp.arange(size) == size - 1
  )


ADDING = sampling.Task(AddingConfig, sample_adding)
DELAY = sampling.Task(DelayConfig, sample_delay)
