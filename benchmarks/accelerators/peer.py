"""The process of one library's peers; `peers.py` starts it.

  python -m benchmarks.accelerators.peer jax|torch PLATFORM

Reads requests, lines of JSON, from the standard input, and answers with one
line for each peer and kind, and a last one that says "done".
"""

import importlib
import json
import os
import pathlib
import sys
import tempfile
from typing import Any
import zipfile

import numpy as np

_WHEELS = pathlib.Path(__file__).resolve().parents[1] / "peers_gpu" / "wheels"


def unpack(wheels: pathlib.Path, directory: pathlib.Path) -> list[str]:
  """Unpacks wheels, each into a directory of its own that is importable.

  What is installed comes first: wheels only add what is missing.

  Args:
    wheels: directory with files *.whl, or none.
    directory: for what is unpacked.

  Returns:
    The names of the wheels.
  """
  names = []
  for wheel in sorted(wheels.glob("*.whl")):
    place = directory / wheel.stem
    with zipfile.ZipFile(wheel) as archive:
      archive.extractall(place)
    sys.path.append(str(place))
    names.append(wheel.stem)
  # Files that are not in a wheel, such as mamba_ssm/ops/triton.
  sys.path.append(str(wheels))
  return names


def answers(library: Any, platform: str, request: dict):
  """Yields a row for each peer of a recurrence and kind.

  Args:
    library: `peers_jax` or `peers_torch`.
    platform: "cpu", "gpu" or "tpu".
    request: see `peers.Peers`.
  """
  peers = [each for each in library.PEERS if each.op == request["op"]]
  for peer in peers:
    row = {"peer": peer.name}
    try:
      missing = _missing(peer.modules)
      if missing is not None:
        yield row | {"note": f"{missing} is not there"}
        continue
      error = _error(library, platform, peer, request)
      for kind, timing in _timings(library, platform, peer, request):
        found = {"kind": kind, "ms": timing.ms, "spread": timing.spread}
        yield row | found | {"error": error, "remark": peer.remark}
    except Exception as reason:  # Whatever others' code raises is their row.
      lines = str(reason).splitlines() or [""]
      yield row | {"note": f"{type(reason).__name__}: {lines[0][:160]}"}


def _missing(modules):
  """The first module that cannot be found."""
  for name in modules:
    try:
      importlib.import_module(name)
    except ImportError as reason:
      return f"{name} ({reason})"
  return None


def _error(library, platform, peer, request):
  """Largest error on the small problem; None for another recurrence."""
  from benchmarks.accelerators import correctness
  from benchmarks.accelerators import problems

  if not peer.same:
    return None
  with np.load(request["truth"]) as file:
    sizes = json.loads(str(file["sizes"]))
    expected = file["y_resets" if peer.resets else "y"]
  small = problems.Problem(
    request["op"], "small", request["dtype"], tuple(map(tuple, sizes))
  )
  call = library.prepare(peer, small, platform)
  return correctness.error(call.output(call.run(*call.inputs)), expected)


def _timings(library, platform, peer, request):
  from benchmarks.accelerators import problems

  sizes = tuple(map(tuple, request["sizes"]))
  problem = problems.Problem(
    request["op"], request["label"], request["dtype"], sizes
  )
  call = library.prepare(peer, problem, platform)
  for kind in problems.KINDS:
    yield kind, library.timed(call, kind)


def main(name: str, platform: str) -> None:
  # What libraries print must not come between the answers.
  out = os.fdopen(os.dup(1), "w")
  os.dup2(2, 1)
  with tempfile.TemporaryDirectory() as directory:
    unpack(_WHEELS, pathlib.Path(directory))
    library = importlib.import_module(f"benchmarks.accelerators.peers_{name}")
    for line in sys.stdin:
      for row in answers(library, platform, json.loads(line)):
        print(json.dumps(row), file=out, flush=True)
      print(json.dumps({"done": True}), file=out, flush=True)


if __name__ == "__main__":
  main(*sys.argv[1:])
