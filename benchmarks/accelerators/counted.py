r"""What the compilers of an H100 and a TPU v5e say, without the hardware.

  make test-compile        # once: installs the compilers
  export JAX_PLATFORMS=cpu
  .venvs/compile/bin/python -m benchmarks.accelerators.counted \
    --table=FILE.json [--platforms=cuda,tpu] [--ops=linear,ssd] \
    [--mixers=s5,mamba] [--programs=ppo_s5,spr] [--kinds=gradient]
  .venvs/compile/bin/python -m benchmarks.accelerators.counted \
    --table=AFTER.json --before=BEFORE.json

Compiles the recurrences at the sizes of the benchmark, as "auto" takes them and
with their kernels, every mixer with bfloat16 activations, and whole programs,
and writes down how many kernels a run starts, how many bytes they move
(`tests/compile/kernels.py`), temporaries, and the seconds it took. What is in
the table already is not compiled again. With --before, prints the tables of
docs/accelerators.md and docs/accelerators_mixers.md instead and compiles
nothing.
"""

from collections.abc import Callable
import dataclasses
import functools
import json
import pathlib
import time

from absl import app
from absl import flags
import jax
import jax.numpy as jnp

from benchmarks.accelerators import problems
from benchmarks.accelerators import programs
from benchmarks.accelerators import recurrences
from jaxseq import mixers
from jaxseq.rl.agents import ppo
from jaxseq.spr import runner
from tests.compile import kernels
from tests.compile import targets

_TABLE = flags.DEFINE_string("table", None, "JSON file that keeps the counts.")
_BEFORE = flags.DEFINE_string("before", None, "Counts to print beside those.")
_PLATFORMS = flags.DEFINE_list("platforms", ["cuda", "tpu"], "Compilers.")
_KINDS = flags.DEFINE_list("kinds", list(problems.KINDS), "Kinds of passes.")
_OPS = flags.DEFINE_list("ops", list(recurrences.OPS), "Recurrences.")
_MIXERS = flags.DEFINE_list("mixers", list(mixers.names()), "Mixers.")
_PROGRAMS = flags.DEFINE_list(
  "programs", ["ppo_s5", "ppo_gru", "spr", "dts", "mamba2_lm"], "Programs."
)

# Names of rows, and the methods that they count.
_KERNELS = {"kernel": "pallas", "tokamax": "tokamax"}
# That a small kernel takes to be started, one after the other.
_KERNEL_SECONDS = 4e-6
# Of the mixers' rows: (batch, time, d_model).
MIXER_SIZES = 8, 4096, 512
_MIXER_OPTIONS = {
  name: {"window": 512} for name in ("attention", "latent_attention")
}
# Those whose steps wait for each other, as in `recurrences.OPS`.
_GATED = ("elman", "gru", "lstm", "slstm")


def mixer(name: str, kind: str):
  """A mixer's forward pass or gradient, and shapes for it."""
  module = mixers.get(name)
  batch, length, width = MIXER_SIZES
  options = _MIXER_OPTIONS.get(name, {})
  config = mixers.make_config(name, d_model=width, **options)
  params = jax.eval_shape(lambda: module.init(jax.random.key(0), config))
  x = jax.ShapeDtypeStruct((batch, length, width), jnp.bfloat16)
  reset = jax.ShapeDtypeStruct((batch, length), jnp.bool_)

  def forward(params, x, reset):
    y, state = module.apply(config, params, x, None, reset)
    return y, jax.tree.leaves(state)

  def loss(params, x, reset):
    y, _ = forward(params, x, reset)
    return jnp.sum(jnp.square(y.astype(jnp.float32)))

  gradient = jax.value_and_grad(loss, argnums=(0, 1))
  function = {"forward": forward, "gradient": gradient}[kind]
  return function, (params, x, reset)


def mixer_limits(name: str) -> tuple[int, list[float]]:
  """What a mixer's gradient must move at least, and seconds on both chips.

  As of recurrences: parameters and inputs read twice, outputs written, their
  cotangents read and those of parameters and inputs written; exponentials of
  Mamba's states, and the steps of gated networks.
  """
  forward, (params, x, reset) = mixer(name, "forward")
  y, state = jax.eval_shape(forward, params, x, reset)
  least = problems.bytes_of([params, x, reset, y] * 2 + [params, x, state])
  batch, length, width = MIXER_SIZES
  exps = 0
  if name == "mamba":
    config = mixers.make_config(name, d_model=width)
    exps = batch * length * config.expand * width * config.d_state
  steps = length if name in _GATED else 0
  seconds = [
    max(least / chip.bandwidth, 3 * exps / chip.exps, 3 * steps * chip.step)
    for chip in (problems.H100, problems.TPU_V5E)
  ]
  return least, seconds


def counted(compiled: jax.stages.Compiled) -> dict[str, float]:
  """Kernels and bytes of one run, and temporaries."""
  text = compiled.as_text()
  return {
    "kernels": kernels.count(text),
    "bytes": kernels.moved(text),
    "temporary": compiled.memory_analysis().temp_size_in_bytes,
  }


def program(platform: str, name: str) -> dict[str, float]:
  """Counts of a whole program."""
  if name in ("ppo_s5", "ppo_gru"):
    return _ppo(platform, name.removeprefix("ppo_"))
  if name == "spr":
    place = targets.sharding(platform)
    agent, game = programs.spr_agent()
    with targets.choosing_for(platform):
      lowered = runner.lower_step(agent, game, sharding=place)
    return counted(lowered.compile())
  make = {
    "dts": programs.of_dts,
    "mamba2_lm": functools.partial(programs.of_language_model, layers=4),
  }[name]
  return _in_chunk(platform, make)


def _in_chunk(platform, make):
  """An update among others: what a third one adds to two."""

  def compiled(updates):
    made = make(updates=updates)
    state = jax.eval_shape(made.init)
    return targets.compiled(platform, made.function, state, *made.given)

  two, three = (counted(compiled(updates)) for updates in (2, 3))
  each = {key: three[key] - two[key] for key in two}
  return each | {"temporary": three["temporary"]}


def _ppo(platform, memory):
  """An update of all epochs, from those of one epoch and of two."""
  config = programs.ppo_config(memory)
  one, two = (
    counted(
      targets.compiled(
        platform,
        functools.partial(ppo.update, each),
        jax.eval_shape(functools.partial(ppo.init, each), jax.random.key(0)),
      )
    )
    for each in (
      dataclasses.replace(config, num_epochs=epochs) for epochs in (1, 2)
    )
  )
  epochs = config.num_epochs - 1
  whole = {key: one[key] + epochs * (two[key] - one[key]) for key in one}
  return whole | {"temporary": two["temporary"]}


def _of_problem(problem, kind, method, platform):
  function, shapes = problem.function(kind, method), problem.shapes()
  return counted(targets.compiled(platform, function, shapes))


def _of_mixer(name, kind, platform):
  function, arguments = mixer(name, kind)
  return counted(targets.compiled(platform, function, *arguments))


def cases() -> dict[str, Callable[[str], dict[str, float]]]:
  """Names of rows, and functions from a platform to what is counted."""
  found = {}
  for problem in problems.MAIN:
    if problem.op in _OPS.value:
      for kind in _KINDS.value:
        of_kind = functools.partial(_of_problem, problem, kind)
        found[f"op {problem.op} {kind}"] = functools.partial(of_kind, "auto")
        for name, method in _KERNELS.items():
          if method in problem.methods:
            case = f"{name} {problem.op} {kind}"
            found[case] = functools.partial(of_kind, method)
  for name in _MIXERS.value:
    for kind in _KINDS.value:
      found[f"mixer {name} {kind}"] = functools.partial(_of_mixer, name, kind)
  for name in _PROGRAMS.value:
    found[f"program {name}"] = functools.partial(
      lambda name, platform: program(platform, name), name
    )
  return found


def markdown(after: dict, before: dict) -> str:
  """Tables of what was counted before and after, of both chips.

  Args:
    after: a table as `main` writes it.
    before: another one; rows that either lacks are empty.
  """
  lines = ["| | at least GB | limit ms: H100, v5e " + _HEAD, "| --- " * 9 + "|"]
  for problem in problems.MAIN:
    for kind in problems.KINDS:
      limits = (
        f"{1e3 * problem.floor(kind, chip):.2f}"
        for chip in (problems.H100, problems.TPU_V5E)
      )
      least = f"{problem.least_bytes(kind) / 1e9:.2f}"
      case = f"op {problem.op} {kind}"
      first = f"| `{problem.op}` {kind} | {least} | {', '.join(limits)} |"
      floor = problem.floor(kind, problems.H100)
      lines.append(first + _cells(after, before, case, floor))
      for name, method in _KERNELS.items():
        case = f"{name} {problem.op} {kind}"
        if {f"cuda {case}", f"tpu {case}"} & set(after):
          label = "the kernel" if method == "pallas" else method
          lines.append(
            f"| with {label} | | |{_cells(after, after, case, floor)}"
          )
  lines += ["", *_of_mixers(after, before)]
  names = [f"program {name}" for name in _PROGRAMS.value]
  lines += ["", *_of_programs(after, before, names)]
  return "\n".join(lines)


_HEAD = (
  "| H100 kernels | H100 GB | H100 MB | H100 ms, estimated | v5e GB | v5e MB |"
)


def _of_mixers(after, before):
  """The lines of a table of mixers, with what limits them."""
  head = "| | at least GB | limit ms: H100, v5e "
  lines = [head + _HEAD, "| --- " * 9 + "|"]
  for name in mixers.names():
    least, seconds = mixer_limits(name)
    limits = ", ".join(f"{1e3 * each:.2f}" for each in seconds)
    case = f"mixer {name} gradient"
    cells = _cells(after, before, case, seconds[0])
    lines.append(f"| `{name}` | {least / 1e9:.2f} | {limits} |{cells}")
  return lines


def _of_programs(after, before, cases):
  """The lines of a table of programs."""
  lines = ["| " + _HEAD, "| --- " * 7 + "|"]
  for case in cases:
    name = case.split()[1]
    lines.append(f"| `{name}` |{_cells(after, before, case)}")
  return lines


def _cells(after, before, case, floor=0.0):
  """Kernels, GB, MB and milliseconds of one row, before and after."""
  estimate = functools.partial(_estimate, floor)
  columns = [("cuda", word) for word in (_kernels, _gb, _mb, estimate)]
  columns += [("tpu", word) for word in (_gb, _mb)]
  cells = []
  for platform, word in columns:
    key = f"{platform} {case}"
    old, new = (
      word(table[key]) if key in table else "-" for table in (before, after)
    )
    cells.append(old if old == new else f"{old} → {new}")
  return "".join(f" {cell} |" for cell in cells)


def _kernels(row):
  return f"{row['kernels']:,.0f}"


def _gb(row):
  return f"{row['bytes'] / 1e9:,.3g}"


def _mb(row):
  return f"{row['temporary'] / 1e6:,.0f}"


def _estimate(floor, row):
  """From the longer of moving bytes and starting kernels, to their sum.

  At least the seconds of `floor`.
  """
  moving = 1e3 * row["bytes"] / problems.H100.bandwidth
  starting = 1e3 * row["kernels"] * _KERNEL_SECONDS
  least = max(moving, starting, 1e3 * floor)
  most = max(moving + starting, 1e3 * floor)
  return "-".join(
    f"{ms:,.0f}" if ms >= 10 else f"{ms:.2g}" for ms in (least, most)
  )


def main(argv: list[str]) -> None:
  if len(argv) > 1:
    raise app.UsageError(f"unexpected arguments {argv[1:]}")
  path = pathlib.Path(_TABLE.value)
  table = json.loads(path.read_text()) if path.exists() else {}
  if _BEFORE.value:
    before = json.loads(pathlib.Path(_BEFORE.value).read_text())
    print(markdown(table, before))
    return
  for case, run in cases().items():
    for platform in _PLATFORMS.value:
      key = f"{platform} {case}"
      if key in table:
        continue
      start = time.monotonic()
      try:
        found = run(platform)
      except NotImplementedError as reason:
        print(key, reason, flush=True)
        continue
      table[key] = found | {"seconds": round(time.monotonic() - start, 1)}
      path.write_text(json.dumps(table, indent=1, sort_keys=True))
      print(key, table[key], flush=True)


if __name__ == "__main__":
  flags.mark_flag_as_required("table")
  app.run(main)
