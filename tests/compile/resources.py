"""What compiled kernels take of their chip: registers, spills, bundles."""

import os
import pathlib
import re
import subprocess
import sys
from typing import NamedTuple

_FUNCTION = re.compile(r"Compiling entry function '(\w+?)_mosaic_gpu_kernel'")
_SPILLS = re.compile(r"(\d+) bytes spill stores, (\d+) bytes spill loads")
_REGISTERS = re.compile(r"Used (\d+) registers")
_BUNDLES = re.compile(r"\d+-([\w\-]+?)(?:\.\d+)?-\d+-final_bundles\.txt")


class Registers(NamedTuple):
  """Of a thread of a GPU: registers, and bytes that do not fit them."""

  used: int
  spilled: int


def registers(text: str) -> dict[str, Registers]:
  """Reads what ptxas says of Mosaic GPU kernels.

  Args:
    text: what a compilation printed with MOSAIC_GPU_DUMP_PTXAS=1 in the
      environment.

  Returns:
    The registers of each kernel, by its name.
  """
  found = {}
  for part in re.split(r"(?=Compiling entry function)", text):
    name = _FUNCTION.search(part)
    if name:
      spilled = sum(map(int, _SPILLS.search(part).groups()))
      used = int(_REGISTERS.search(part).group(1))
      found[name.group(1)] = Registers(used, spilled)
  return found


def bundles(
  directory: pathlib.Path, function: str, depth: int = 2
) -> dict[str, int]:
  """Counts the bundles in the innermost loops of Mosaic TPU kernels.

  Args:
    directory: an empty one, for what the compiler writes.
    function: "module:function"; it takes nothing and compiles the kernels. It
      is called in a process of its own, as libtpu reads its flags once.
    depth: of those loops; 1 where there is none but that over the grid.

  Returns:
    The number of bundles of each kernel, by its name; 0 without such a loop.
  """
  module, name = function.split(":")
  flags = f"--xla_jf_dump_to={directory} --xla_jf_dump_llo_text=true"
  subprocess.run(
    [sys.executable, "-c", f"from {module} import {name}; {name}()"],
    env=os.environ
    | {"LIBTPU_INIT_ARGS": flags, "ALLOW_MULTIPLE_LIBTPU_LOAD": "1"},
    check=True,
    capture_output=True,
  )
  found = {}
  for path in directory.glob("*-final_bundles.txt"):
    match = _BUNDLES.fullmatch(path.name)
    if match and "schedule-analysis" not in path.name:
      # Loops are marked by their depth; those over a grid are the outer ones.
      found[match.group(1)] = path.read_text().count(f": {'>' * depth} ")
  return found
