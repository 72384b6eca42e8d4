"""Memory of a TPU v5e for a layer whose time is split over chips, without TPUs.

  make test-compile        # once: installs the compiler
  .venvs/compile/bin/python -m benchmarks.sequence_memory \
    [--mixers=s5,mamba] [--table=FILE.json] [--plot=docs/sequence_memory.png] \
    [--schedule=s5 [--chips=4] [--length=65536]]

Compiles the gradient of every mixer, with respect to parameters and inputs, for
4 (2x2), 8 (2x4) and 16 (4x4) chips, and prints what each chip needs beside
arguments and results, and which collectives the program holds. Lengths grow at
4 and at 16 chips, and with the chips at a fixed length per chip. Nothing is
run. All mixers take some forty minutes; what is in the table file already is
not compiled again. "attention" has its window; "attention_ring" sees the whole
sequence. With --schedule, prints the collectives of one program instead, in the
order in which they start and end.
"""

import collections
import functools
import itertools
import json
import os
import pathlib
import re
import time

from absl import app
from absl import flags
import jax
from jax.experimental import topologies
import jax.numpy as jnp
from jax.sharding import NamedSharding
from jax.sharding import PartitionSpec as P

from jaxseq import mixers
from jaxseq.training import figures
from tests.compile import targets

_MIXERS = flags.DEFINE_list("mixers", None, "Mixers; all if not given.")
_BATCH = flags.DEFINE_integer("batch", 1, "Sequences.")
_WIDTH = flags.DEFINE_integer("d_model", 256, "Width of the layer.")
_TABLE = flags.DEFINE_string("table", None, "JSON file that keeps the rows.")
_PLOT = flags.DEFINE_string("plot", None, "PNG to draw.")
_SCHEDULE = flags.DEFINE_string("schedule", None, "Mixer to show.")
_CHIPS = flags.DEFINE_enum("chips", "4", ["4", "8", "16"], "For --schedule.")
_LENGTH = flags.DEFINE_integer("length", 2**16, "For --schedule.")

_TOPOLOGIES = {4: "v5e:2x2", 8: "v5e:2x4", 16: "v5e:4x4"}
# (chips, length): at fixed chips, and at 65,536 tokens per chip.
_CASES = (
  (4, 2**14),
  (4, 2**16),
  (4, 2**18),
  (8, 2**19),
  (16, 2**16),
  (16, 2**18),
  (16, 2**20),
)
_RING = "attention_ring"
_BUSY = re.compile(r" (fusion|while|dot|convolution|custom-call)\(")
_COLLECTIVES = (
  "all-gather",
  "all-reduce",
  "reduce-scatter",
  "all-to-all",
  "collective-permute",
)


@functools.cache
def mesh_of(chips: int) -> jax.sharding.Mesh:
  """Returns a described slice as a mesh with the axis "time"."""
  # No question to the metadata server of a cloud machine.
  os.environ.setdefault("TPU_SKIP_MDS_QUERY", "1")
  found = topologies.get_topology_desc(
    platform="tpu", topology_name=_TOPOLOGIES[chips]
  )
  return topologies.make_mesh(found, (chips,), ("time",))


def compile_gradient(name: str, chips: int, length: int, batch: int, width):
  """Returns the compiled gradient of a mixer, or of attention by a ring."""
  config_options, options = {}, {}
  if name == _RING:
    name, config_options = "attention", {"window": length}
    options = {"scheme": "ring"}
  module = mixers.get(name)
  config = mixers.make_config(name, d_model=width, **config_options)
  mesh = mesh_of(chips)

  def shapes(tree, spec):
    place = NamedSharding(mesh, spec)
    return jax.tree.map(
      lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=place), tree
    )

  params = shapes(
    jax.eval_shape(lambda key: module.init(key, config), jax.random.key(0)), P()
  )
  x, reset = shapes(
    (
      jax.ShapeDtypeStruct((batch, length, width), jnp.float32),
      jax.ShapeDtypeStruct((batch, length), jnp.bool_),
    ),
    P(None, "time"),
  )

  def local(params, x, reset):
    return module.apply(config, params, x, None, reset, axis="time", **options)[
      0
    ]

  run = jax.shard_map(
    local,
    mesh=mesh,
    in_specs=(P(), P(None, "time"), P(None, "time")),
    out_specs=P(None, "time"),
  )

  def loss(params, x, reset):
    return (run(params, x, reset) ** 2).sum()

  with targets.choosing_for("tpu"):
    gradient = jax.jit(jax.grad(loss, argnums=(0, 1)))
    return gradient.lower(params, x, reset).compile()


def schedule(text: str) -> dict[str, tuple[int, int]]:
  """Counts a scheduled program's collectives, and those that overlap others.

  Args:
    text: of the program.

  Returns:
    For each kind: how many there are, and between how many starts and ends
    other operations lie.
  """
  lines = text.splitlines()
  found = collections.defaultdict(lambda: [0, 0])
  for i, line in enumerate(lines):
    match = re.search(r"= .*? ([a-z-]+?)(-start)?\(", line)
    if not match or match[1] not in _COLLECTIVES:
      continue
    found[match[1]][0] += 1
    if not match[2]:
      continue
    name = line.split("=")[0].strip().split()[-1]
    for after, other in enumerate(lines[i + 1 :]):
      if f"{match[1]}-done(" in other and name in other:
        busy = [
          text for text in lines[i + 1 : i + 1 + after] if _BUSY.search(text)
        ]
        found[match[1]][1] += bool(busy)
        break
  return {kind: tuple(counts) for kind, counts in found.items()}


def timeline(text: str) -> list[str]:
  """Lists a scheduled program's collectives in the order of the schedule.

  Args:
    text: of the program.

  Returns:
    Lines: which collective starts, is done and returns what, or runs as a
    whole, and how many other operations run until the next. Those of a loop or
    branch stand under its name.
  """
  kinds = "|".join(_COLLECTIVES)
  lines, busy, head = [], 0, None

  def pause():
    nonlocal busy
    if busy and lines and not lines[-1].endswith(":"):
      lines.append(f"      {busy} other operations")
    busy = 0

  for line in text.splitlines():
    entered = re.match(r"(ENTRY )?%?(\S+) \(.*\{$", line)
    if entered:
      head, busy = entered[2], 0
      continue
    found = re.search(rf"%?(\S+) = (.*?) ({kinds})(-start|-done)?\(", line)
    if not found:
      busy += bool(_BUSY.search(line))
      continue
    if head:
      lines.append(f"{head}:")
      head, busy = None, 0
    pause()
    name, result, _, phase = found.groups()
    if phase == "-start":
      lines.append(f"start {name}")
      continue
    result = re.sub(r"\{[^}]*\}|/\*.*?\*/", "", result)
    lines.append(f"{'done ' if phase else 'whole'} {name}: {result}")
  return lines


def measure(name: str, chips: int, length: int) -> dict[str, object]:
  """Returns the temporary MB of a chip, the collectives, and CPU seconds."""
  start = time.process_time()
  program = compile_gradient(name, chips, length, _BATCH.value, _WIDTH.value)
  told = ", ".join(
    f"{count} {kind}" + (f" ({overlapped} overlapped)" if overlapped else "")
    for kind, (count, overlapped) in sorted(schedule(program.as_text()).items())
  )
  return {
    "mb": round(program.memory_analysis().temp_size_in_bytes / 1e6, 1),
    "collectives": told,
    "seconds": round(time.process_time() - start),
  }


def main(argv: list[str]) -> None:
  if len(argv) > 1:
    raise app.UsageError(f"unexpected arguments {argv[1:]}")
  if _SCHEDULE.value:
    chips, length = int(_CHIPS.value), _LENGTH.value
    program = compile_gradient(
      _SCHEDULE.value, chips, length, _BATCH.value, _WIDTH.value
    )
    print("\n".join(timeline(program.as_text())))
    return
  path = pathlib.Path(_TABLE.value) if _TABLE.value else None
  kept = json.loads(path.read_text()) if path and path.exists() else {}
  setting = (
    f"batch {_BATCH.value}, d_model {_WIDTH.value}, jax {jax.__version__}"
  )
  print(f"TPU v5e, float32, {setting}")
  print("temporary MB a chip, gradient; collectives; [CPU seconds to compile]")
  table = collections.defaultdict(dict)
  for name in _MIXERS.value or sorted([*mixers.names(), _RING]):
    for chips, length in _CASES:
      key = f"{name}, {chips} chips, {length:,} tokens, {setting}"
      row = kept.get(key) or measure(name, chips, length)
      table[name][chips, length] = row["mb"]
      kept[key] = row
      if path:
        path.write_text(json.dumps(kept, indent=2) + "\n")
      print(
        f"{name:<18}{chips:>3} chips {length:>9,} tokens {row['mb']:>10.1f} MB"
        f"  {row['collectives']}  [{row['seconds']} s]",
        flush=True,
      )
  if _PLOT.value:
    draw(table, _PLOT.value)


def draw(table, path: str) -> None:
  """Draws memory against length, at 4 and 16 chips and at a length per chip."""
  figure = figures.new(path, 12, 4.2)
  if figure is None:
    return
  panels = {
    "4 chips": [case for case in _CASES if case[0] == 4],
    "16 chips": [case for case in _CASES if case[0] == 16],
    "65,536 tokens a chip": [c for c in _CASES if c[1] // c[0] == 2**16],
  }
  grid = figure.subplots(1, len(panels), sharey=True)
  for axes, (title, cases) in zip(grid, panels.items()):
    styles = itertools.product(("-", "--"), figures.COLORS)
    for (name, values), (style, color) in zip(table.items(), styles):
      known = [case for case in cases if case in values]
      axes.plot(
        [length for _, length in known],
        [values[case] for case in known],
        style,
        color=color,
        marker="o",
        ms=4,
        label=name,
      )
    axes.set_xscale("log", base=2)
    axes.set_yscale("log")
    axes.set_title(title, loc="left", fontsize=10)
    axes.set_xlabel("tokens of the sequence")
    axes.set_xticks(
      [length for _, length in cases],
      [f"{length:,}\n{chips} chips" for chips, length in cases],
      fontsize=8,
    )
    axes.minorticks_off()
    axes.margins(x=0.15)
    axes.grid(color="#dddddd", lw=0.6)
    axes.spines[["top", "right"]].set_visible(False)
  grid[0].set_ylabel("temporary MB a chip, gradient")
  lines, names = grid[0].get_legend_handles_labels()
  figure.legend(
    lines,
    names,
    loc="outside right center",
    fontsize=8,
    frameon=False,
    handlelength=3,
  )
  figures.save(figure, path)


if __name__ == "__main__":
  app.run(main)
