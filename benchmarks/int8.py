"""Networks with weights in 8 bits beside float32: bytes, bits, tokens a second.

  python -m benchmarks.int8
  python -m benchmarks.int8 --networks mamba2 --rows 8 --width 1024

Of each network and each form of its weights it prints the bytes, by how much
loading its file raises the peak of a process's memory, the tokens that a CPU
second of single steps gives (the best of several runs, in turns), how many bits
a token of a text takes more than in float32, and behind how many percent of its
tokens the most probable one is the same. The text is what the network in
float32 itself finds most probable, behind random tokens. The networks are not
trained.
"""

import argparse
import pathlib
import subprocess
import sys
import tempfile

from flax import traverse_util
import jax
import jax.numpy as jnp

from benchmarks import timing
from jaxseq import nn
from jaxseq.adapt import quantized
from jaxseq.interop import network_file

_MIXERS = {
  "attention": ("attention",),
  "mamba2": ("mamba2",),
  "hybrid": ("mamba2", "attention"),
}
_FORMS = "float32", "float", "int8"
# Prints by how many kB a process's peak grows.
_LOADS = """
import pathlib, re, sys
import jax, jaxseq
from jaxseq import interop, nn
from jaxseq.adapt import quantized
def peak():
  status = pathlib.Path("/proc/self/status").read_text()
  return int(re.search(r"VmHWM:\\s*(\\d+)", status)[1])
jax.block_until_ready(jax.numpy.zeros(1))
before = peak()
jax.block_until_ready(jaxseq.load(sys.argv[1])[1])
print(peak() - before)
"""


def _parse():
  parser = argparse.ArgumentParser(
    description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
  )
  parser.add_argument("--networks", nargs="+", default=[*_MIXERS])
  parser.add_argument("--rows", type=int, default=1, help="at the same time")
  parser.add_argument("--width", type=int, default=512, help="d_model")
  parser.add_argument("--layers", type=int, default=4)
  parser.add_argument("--length", type=int, default=64, help="tokens of a row")
  parser.add_argument("--repeats", type=int, default=5)
  return parser.parse_args()


def _network(name, flags):
  """A network and its variables, whose layers have gated feed-forwards."""
  stack = nn.StackConfig.alternating(
    *_MIXERS[name],
    d_model=flags.width,
    num_layers=flags.layers,
    norm="rms",
    activation="none",
    feedforward="swiglu",
  )
  network = nn.SequenceNetwork(nn.NetworkConfig(stack), 256, 256)
  tokens = jnp.zeros((1, 2), jnp.int32)
  return network, jax.jit(network.init)(jax.random.key(0), tokens)


def _reader(network, rows):
  """A function that reads texts, or writes the most probable ones."""

  def run(variables, texts, write):
    def step(carry, token):
      states, last = carry
      token = jnp.where(write, last, token)
      logits, states = network.apply(variables, token, states, method="step")
      best = jnp.argmax(logits, -1)
      return (states, best), (token, best, jax.nn.log_softmax(logits))

    start = network.initial_state((rows,)), texts[0]
    _, (tokens, best, logs) = jax.lax.scan(step, start, texts)
    taken = jnp.take_along_axis(logs[:-1], tokens[1:, :, None], -1)
    return tokens, best, -jnp.mean(taken) / jnp.log(2)

  return run


def _nbytes(variables):
  return sum(leaf.nbytes for leaf in jax.tree.leaves(variables))


def _peak(network, variables, form):
  """Bytes by which loading raises the peak of another process."""
  with tempfile.TemporaryDirectory() as folder:
    path = pathlib.Path(folder) / "network.safetensors"
    save = network_file.save if form == "float32" else quantized.save
    save(path, network, variables)
    command = [sys.executable, "-c", _LOADS, str(path)]
    return 1024 * int(subprocess.check_output(command, text=True))


def _compare(name, flags):
  """Prints the lines of a network."""
  network, variables = _network(name, flags)
  run = _reader(network, flags.rows)
  first = jax.random.randint(
    jax.random.key(1), (flags.length, flags.rows), 0, 256
  )
  every = [variables] + [
    quantized.quantize(network, variables, quantized.Config(form))
    for form in _FORMS[1:]
  ]
  text, likeliest, _ = jax.jit(run)(variables, first, True)
  measured = timing.interleaved(
    [(run, (each, text, False)) for each in every], flags.repeats
  )
  read = [jax.jit(run)(each, text, False)[1:] for each in every]
  for form, each, one, (best, taken) in zip(_FORMS, every, measured, read):
    same = 100 * jnp.mean(best == likeliest)
    speed = text.size / one.cpu
    peak = _peak(network, each, form) / 1e6
    print(
      f"| {name} | {form} | {_nbytes(each) / 1e6:.1f} | {peak:.0f} | "
      f"{speed:.0f} | "
      f"{taken:.3f} | {taken - read[0][1]:+.4f} | {same:.1f} |",
      flush=True,
    )
  flat = traverse_util.flatten_dict(variables["params"])
  count = sum(leaf.size for leaf in flat.values())
  print(f"  {name}: {count / 1e6:.2f} million parameters", flush=True)


def main():
  """Compares every network that is asked for."""
  flags = _parse()
  columns = "network", "weights", "MB", "peak of loading, MB"
  columns += "tokens a CPU second", "bits", "more bits", "same likeliest, %"
  print("|", " | ".join(columns), "|")
  print("|", " | ".join(["---"] * len(columns)), "|")
  for name in flags.networks:
    _compare(name, flags)


if __name__ == "__main__":
  main()
