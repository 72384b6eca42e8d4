"""What calls cost here and in another checkout, in turns.

  git worktree add ../before COMMIT
  python -m benchmarks.checkouts ../before
  python -m benchmarks.checkouts ../before --cases ppo mixer:gru:gradient
  python -m benchmarks.checkouts ../before --cases prefill generate engine load

The calls are those of `benchmarks.ppo`, `benchmarks.s5`, `benchmarks.mixers` at
1,024 elements and `benchmarks.streaming`, 256 steps after 1,024 elements, as
each checkout has these modules, and an update of each other agent with its
published values and a GRU. `TEXTS` are calls of generation, by a network of
attention and with default options: prompts that are read, tokens that are
drawn, and a run of an engine, nearly all of it steps; and a model that is
loaded from a directory in the transformers library's format. A process of each
compiles a case; then they take turns, and the median of the ratios of neighbors
is printed, of CPU time, which other programs on the machine hardly change, and
of wall time.
"""

import argparse
from collections.abc import Callable
import functools
import os
import pathlib
import statistics
import subprocess
import sys
import tempfile
import time

TEXTS = "prefill", "generate", "engine", "load"
_ROUNDS, _SECONDS, _MOST = 15, 0.1, 20
_ROOT = pathlib.Path(__file__).resolve().parents[1]
# Agents and their environments.
_AGENTS = {
  "pqn": "RepeatPreviousEasy",
  "r2d2": "RepeatPreviousEasy",
  "sac": "Pendulum-v1",
}


def cases(mixers: list[str]) -> list[str]:
  """Names of all calls, with those of the given mixers."""
  kinds = "forward", "gradient"
  found = ["ppo", *(f"agent:{name}" for name in _AGENTS), *TEXTS]
  found += [f"s5:{time}:{kind}" for time in (1024, 16384) for kind in kinds]
  found += [f"mixer:{name}:{kind}" for name in mixers for kind in kinds]
  return found + [f"step:{name}" for name in mixers]


def make_text(case: str):
  """What a case of `TEXTS` calls, of the checkout that is imported."""
  import jax
  import numpy as np

  from jaxseq import generation
  from jaxseq import nn
  from jaxseq.interop import huggingface

  vocabulary = 4096 if case == "load" else 512
  sizes = {"d_model": 256, "num_layers": 2, "activation": "none"}
  stack = nn.StackConfig("attention", norm="rms", **sizes)
  if case == "load":
    eps = {"norm_eps": 1e-6}  # that of the norms, which the format has once
    stack = nn.StackConfig("mamba2", norm="rms", mixer_options=eps, **sizes)
  config = nn.NetworkConfig(stack, head_bias=False)
  network = nn.SequenceNetwork(config, vocabulary, vocabulary)
  length = 1024 if case == "prefill" else 32
  prompts = np.random.default_rng(0).integers(0, 512, (8, length))
  variables = jax.jit(network.init)(jax.random.key(0), prompts)
  if case == "load":
    folder = tempfile.TemporaryDirectory()
    huggingface.save(folder.name, config, variables)

    def load():
      jax.block_until_ready(huggingface.load(folder.name)[1])

    load.folder = folder  # which lasts as long as the function
    return load
  if case == "engine":
    options = generation.EngineConfig(slots=8, steps=8)
    engine = generation.Engine(network, variables, options)
    asked = [generation.Request(prompt, 64) for prompt in prompts]
    return lambda: engine.run(asked)
  drawn = 1 if case == "prefill" else 64
  arguments = network, variables, prompts, drawn, jax.random.key(1)
  return lambda: jax.block_until_ready(generation.generate(*arguments)[0])


def make(case: str):
  """What a case calls, of the checkout that is imported."""
  if case in TEXTS:
    return make_text(case)

  import jax
  import numpy as np

  from benchmarks import mixers
  from benchmarks import ppo
  from benchmarks import s5
  from benchmarks import streaming

  kind, *rest = case.split(":")
  if kind == "ppo":
    config = ppo.configuration("s5")
    init, update = (
      jax.jit(functools.partial(function, config))
      for function in (ppo.ppo.init, ppo.ppo.update)
    )
    arguments = (init(jax.random.key(0)),)
  elif kind == "agent":
    update, arguments = _agent(rest[0])
  elif kind == "s5":
    arguments = s5.problem(int(rest[0]), 8, 128, 64)
    update = s5.ours if rest[1] == "forward" else s5.gradient(s5.ours)
  elif kind == "mixer":
    apply, arguments = mixers.problem(rest[0], 1024, 2, 64)
    wrap = mixers.forward if rest[1] == "forward" else mixers.gradient
    update = wrap(apply)
  else:
    module, config, *arguments = streaming.prepare(rest[0], 1024, 1, 64)
    x = np.random.default_rng(2).normal(size=(256, 1, 64)).astype(np.float32)
    arguments = (*arguments, x)

    def update(params, state, x):
      def body(state, x_t):
        y, state = module.step(config, params, x_t, state)
        return state, y

      return jax.lax.scan(body, state, x)

  compiled = jax.jit(update)
  return lambda: jax.block_until_ready(compiled(*arguments))


def _agent(name):
  """An update of an agent, and the state after those that fill its replay."""
  import jax

  from jaxseq import nn
  from jaxseq.rl import algorithms
  from jaxseq.rl import networks

  algorithm = algorithms.get(name)
  network = networks.Config(nn.StackConfig("gru", d_model=64, num_layers=1))
  given = {"env_id": _AGENTS[name], "network": network, "num_envs": 16}
  if name != "pqn":
    given |= {"learning_starts": 64, "replay_sequences": 256}
  published = dict(getattr(algorithm.Config, "published", {}))
  config = algorithm.Config(**published | given)
  init = jax.jit(functools.partial(algorithm.init, config))
  update = functools.partial(algorithm.train, config, num_updates=1)
  run, _ = jax.jit(functools.partial(algorithm.train, config, num_updates=8))(
    init(jax.random.key(0))
  )
  return update, (run,)


def serve(make: Callable[[str], Callable[[], object]] = make) -> None:
  """Answers lines of a case and a number of calls with their best seconds.

  First it says which mixers there are.

  Args:
    make: returns what a case calls.
  """
  from jaxseq import mixers

  print(*mixers.names(), flush=True)
  name = None
  for line in sys.stdin:
    case, calls = line.split()
    if case != name:
      name, function = case, make(case)
      function()
    best = [float("inf")] * 2
    for _ in range(int(calls)):
      clocks = time.perf_counter, time.process_time
      starts = [clock() for clock in clocks]
      function()
      spent = (clock() - start for clock, start in zip(clocks, starts))
      best = list(map(min, best, spent))
    print(*best, flush=True)


class Checkout:
  """A process that runs cases of a checkout.

  Args:
    root: its directory.
    cases: a file whose `make` returns what a case calls.
    devices: virtual ones.

  Attributes:
    mixers: that it has.
  """

  def __init__(
    self, root: pathlib.Path, cases: str = __file__, devices: int = 1
  ):
    # XLA's pool of threads on a CPU of two cores can wait for itself for ever.
    own = {"PYTHONPATH": str(root), "JAX_PLATFORMS": "cpu"}
    own["JAX_NUM_CPU_DEVICES"] = str(devices)
    serve = (
      "import runpy; run = runpy.run_path; "
      f"run({__file__!r})['serve'](run({cases!r})['make'])"
    )
    self._process = subprocess.Popen(
      [sys.executable, "-c", serve],
      cwd=root,
      env={"NPROC": "8", **os.environ, **own},
      stdin=subprocess.PIPE,
      stdout=subprocess.PIPE,
      text=True,
    )
    self.mixers = self._process.stdout.readline().split()

  def seconds(self, case: str, calls: int) -> list[float]:
    """Wall and CPU time of the best of some calls."""
    self._process.stdin.write(f"{case} {calls}\n")
    self._process.stdin.flush()
    line = self._process.stdout.readline()
    if not line:
      raise SystemExit(f"{case}: the process of a checkout has ended.")
    return [float(word) for word in line.split()]

  def close(self) -> None:
    """Ends the process."""
    self._process.communicate()


def compared(checkouts: list[Checkout], case: str, rounds: int):
  """Wall ms of both at their best, and median ratios of wall and CPU time."""
  first = [checkout.seconds(case, 1) for checkout in checkouts]
  calls = max(1, min(_MOST, int(_SECONDS / first[0][0])))
  taken = [[], []]
  for turn in range(rounds):
    order = (0, 1) if turn % 2 else (1, 0)
    for which in order:
      taken[which].append(checkouts[which].seconds(case, calls))
  best = [1e3 * min(wall for wall, _ in each) for each in taken]
  ratios = [
    statistics.median(new[i] / old[i] for old, new in zip(*taken))
    for i in (0, 1)
  ]
  return *best, *ratios


def print_head() -> None:
  """Prints the head of what `print_compared` prints."""
  head = "case", "ms before", "ms here", "wall ratio", "CPU ratio"
  print(f"{head[0]:>28}", *(f"{word:>10}" for word in head[1:]))


def print_compared(checkouts: list[Checkout], case: str, rounds: int) -> None:
  """Prints the line of a case, see `compared`."""
  numbers = compared(checkouts, case, rounds)
  print(f"{case:>28}", *(f"{x:>10.3f}" for x in numbers), flush=True)


def main():
  parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
  parser.add_argument("before", type=pathlib.Path, help="the other checkout")
  parser.add_argument(
    "--cases", nargs="+", help="calls by name; all that both have if none"
  )
  parser.add_argument(
    "--rounds", type=int, default=_ROUNDS, help="turns of each checkout"
  )
  flags = parser.parse_args()
  if not (flags.before / "benchmarks").is_dir():
    parser.error(f"before: got {flags.before}, expected another checkout")
  checkouts = [Checkout(flags.before.resolve()), Checkout(_ROOT)]
  before, here = (checkout.mixers for checkout in checkouts)
  names = flags.cases or cases([name for name in before if name in here])
  print_head()
  for case in names:
    print_compared(checkouts, case, flags.rounds)
  for checkout in checkouts:
    checkout.close()


if __name__ == "__main__":
  main()
