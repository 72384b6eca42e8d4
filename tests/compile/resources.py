"""What kernels take of a chip, as its compiler says: registers, bundles.

The compilers say it when the environment asks them at the start of a process,
so that the kernels are compiled in one of its own.
"""

import collections
import glob
import importlib
import os
import re
import sys
import tempfile
from typing import NamedTuple

from tests import programs

_BEGIN = "compiling "
_REGISTERS = re.compile(r"Used (\d+) registers")
_SPILLS = re.compile(r"(\d+) bytes spill stores, (\d+) bytes spill loads")
# A line of a TPU's program: number, loops around it as ">" and the bundle.
_BUNDLE = re.compile(r"^\s*0x[0-9a-f]+\s*(?:[A-Z]+)?\s*:\s*(>*)")


class Gpu(NamedTuple):
  """What the kernels of one program take of a GPU.

  Attributes:
    registers: of a thread, one number for each kernel.
    spills: bytes of stores and loads, of all kernels.
  """

  registers: tuple[int, ...]
  spills: int


def of_gpu(cases: str) -> dict[str, Gpu]:
  """Compiles Mosaic kernels for an H100.

  Args:
    cases: "module:function", a function without arguments that returns
      functions and the shapes of their arguments, by label.

  Returns:
    What each program's kernels take, by label.
  """
  found = {}
  for label, text in _compiled("cuda", cases, MOSAIC_GPU_DUMP_PTXAS="1"):
    spills = (int(x) for pair in _SPILLS.findall(text) for x in pair)
    registers = tuple(int(x) for x in _REGISTERS.findall(text))
    found[label] = Gpu(registers, sum(spills))
  return found


def of_tpu(cases: str, kernel: str) -> dict[str, int]:
  """Compiles Mosaic kernels for a TPU v5e.

  Args:
    cases: as in `of_gpu`.
    kernel: part of the kernel's name.

  Returns:
    The bundles of the innermost loop of each program's kernel, by label.
  """
  with tempfile.TemporaryDirectory() as folder:
    flags = f"--xla_jf_dump_to={folder} --xla_jf_dump_llo_text=true"
    environ = {"ALLOW_MULTIPLE_LIBTPU_LOAD": "1", "LIBTPU_INIT_ARGS": flags}
    labels = [label for label, _ in _compiled("tpu", cases, **environ)]
    names = glob.glob(f"{folder}/*{kernel}*final_bundles.txt")
    names = [name for name in names if "schedule-analysis" not in name]
    # In the order of their times, which the names begin with.
    names.sort(key=os.path.basename)
    return dict(zip(labels, map(_innermost, names), strict=True))


def _innermost(name):
  """Bundles at the greatest depth of loops."""
  depths = collections.Counter()
  with open(name) as file:
    for line in file:
      bundle = _BUNDLE.match(line)
      if bundle:
        depths[len(bundle.group(1))] += 1
  return depths[max(depths)]


def _compiled(platform, cases, **environ):
  """Yields each label, and what the compiler wrote."""
  result = programs.run(
    *("-m", "tests.compile.resources", platform, cases),
    env=os.environ | environ,
  )
  assert result.returncode == 0, result.stderr[-2000:]
  # What comes before the first label is the start of the compiler.
  for part in re.split(f"^{_BEGIN}", result.stdout, flags=re.M)[1:]:
    label, _, text = part.partition("\n")
    yield label, text


def _main(platform, cases):
  import jax

  from tests.compile import targets

  # One stream, in order: the compilers write past Python.
  os.dup2(1, 2)
  place = targets.sharding(platform)
  module, function = cases.split(":")
  problems = getattr(importlib.import_module(module), function)()
  for label, (run, *arguments) in problems.items():
    print(f"{_BEGIN}{label}", flush=True)
    shapes = jax.tree.map(
      lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=place),
      arguments,
    )
    with targets.choosing_for(platform):
      lowered = jax.jit(run).lower(*shapes)
    lowered.compile()


if __name__ == "__main__":
  _main(*sys.argv[1:])
