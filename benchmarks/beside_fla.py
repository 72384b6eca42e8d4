r"""Recurrences of some mixers beside the naive forms of flash-linear-attention.

  python3.11 -m venv /tmp/fla
  /tmp/fla/bin/python -m pip install numpy einops torch
  /tmp/fla/bin/python -m pip install --no-deps --target=/tmp/fla/src \
    flash-linear-attention==0.6.0 fla-core==0.6.0
  NPROC=1 taskset -c 1 python -m benchmarks.beside_fla \
    --peer_python=/tmp/fla/bin/python --fla=/tmp/fla/src

Forward passes in float32 on one core, without projections, norms and output
gates; NPROC is the size of XLA's pool of threads. "ours" is what the mixer
calls, jitted; "steps" is the same one element after the other in a `lax.scan`;
"fla" is a file of the package's folder `ops` that runs without Triton, in
torch. These files are its references for tests: its fast kernels need a GPU.

All get the same arrays, of one row. For every mixer they take turns, each in a
process of its own, and the least CPU time of the calls is printed. The
difference is the largest one between the outputs of "fla" and those of the
other two, over the largest output of "fla"; above `TOLERANCE` nothing is
compared. "MB" is by how much the first call raises the peak of the process's
resident memory, compilation included.

"steps" are those of `recurrence.reference`; for attention, log-linear attention
and MesaNet those of decoding, with a window or state for the whole sequence.
NSA has 16 heads that share keys, as fla rejects fewer, and no window, for
which fla calls FlashAttention; torch computes the means of blocks in place of
its Triton kernel. Comba is compared with the form of chunks: the other one,
`naive_recurrent_comba`, reads after the decay. TTT is left out: here queries
and keys are rotated and the query is added to the normed output, there the
output itself.
"""

import argparse
import importlib.util
import os
import pathlib
import subprocess
import sys
import tempfile
import time
import types

import numpy as np

WIDTH = 64
# Of NSA: elements of a block, selected blocks.
BLOCK, SELECTED = 64, 4
TOLERANCE = 1e-3

# Mixer, file, function, names of arrays, and further arguments. Functions of
# files of `_HEADS_FIRST` want heads before time.
PEERS = (
  ("fox", "forgetting_attn/naive", "naive_forgetting_attn", "q k v g", {}),
  (
    *("path_attention", "path_attn/naive", "naive_path_attn"),
    *("q k v w rate g", {"scale": WIDTH**-0.5}),
  ),
  (
    *("nsa", "nsa/naive", "naive_nsa", "many k1 v1 to_means to_chosen"),
    {"block_counts": SELECTED, "block_size": BLOCK},
  ),
  (
    *("log_linear", "log_linear_attn/naive", "naive_log_linear_attn"),
    *("q k v g scales", {}),
  ),
  ("retention", "retention/naive", "naive_retention", "q k v", {}),
  (
    *("retention", "simple_gla/naive", "naive_chunk_simple_gla"),
    *("q k v constant", {}),
  ),
  (
    *("rwkv6", "rwkv6/recurrent_naive", "naive_recurrent_rwkv6"),
    *("q k v decay bonus", {"scale": 1.0}),
  ),
  (
    *("rwkv6", "rwkv6/chunk_naive", "naive_chunk_rwkv6"),
    *("q k v decay bonus", {}),
  ),
  (
    *("gsa", "gsa/naive", "naive_recurrent_gsa"),
    *("q k v new decay", {"scale": 1.0}),
  ),
  ("based", "based/naive", "naive_parallel_based", "thin_q thin_k v", {}),
  ("based", "based/naive", "naive_chunk_based", "thin_q thin_k v", {}),
  ("hgrn", "hgrn/naive", "naive_recurrent_hgrn", "flat_v flat_decay", {}),
  ("comba", "comba/naive", "naive_chunk_comba", "q unit v read g beta", {}),
  (
    *("gdn2", "gdn2/naive", "naive_recurrent_gdn2"),
    *("q unit v decay erase write", {}),
  ),
  (
    *("gdn2", "gdn2/naive", "naive_chunk_gdn2"),
    *("q unit v decay erase write", {}),
  ),
  (
    *("mesa", "mesa_net/naive", "naive_mesa_net_exact"),
    *("q unit v g ridge beta", {}),
  ),
  (
    *("mesa_cg", "mesa_net/naive", "naive_mesa_net_CG"),
    *("q unit v g ridge beta", {"chunk_size": BLOCK}),
  ),
)
_HEADS_FIRST = ("retention", "rwkv6", "based")
MIXERS = tuple(dict.fromkeys(mixer for mixer, *_ in PEERS))


def make_ours(mixer: str, side: str):
  """Returns a function of the arrays; side is "ours" or "steps"."""
  import jax

  from benchmarks import fla_mixers

  function = getattr(fla_mixers, mixer)
  run = jax.jit(lambda x: function(side, types.SimpleNamespace(**x)))
  return lambda x: jax.block_until_ready(run(x))


def make_peer(index: int, folder: str):
  """Returns a function of the arrays, that of a row of `PEERS`."""
  import torch

  torch.set_num_threads(1)
  # naive_nsa imports two functions from modules that need Triton.
  for name in ("fla", "fla.ops", "fla.ops.utils", "fla.ops.utils.pooling"):
    sys.modules[name] = types.ModuleType(name)
  sys.modules["fla.ops.utils"].prepare_chunk_offsets = None
  sys.modules["fla.ops.utils.pooling"].mean_pooling = lambda x, size, _: (
    x.unflatten(1, (-1, size)).mean(2)
  )
  _, file, name, names, options = PEERS[index]
  turned = file.split("/")[0] in _HEADS_FIRST
  path = pathlib.Path(folder) / "fla" / "ops" / f"{file}.py"
  spec = importlib.util.spec_from_file_location("naive", path)
  module = importlib.util.module_from_spec(spec)
  spec.loader.exec_module(module)

  def moved(x):
    return x.transpose(1, 2) if turned and x.ndim == 4 else x

  def run(x):
    arrays = [moved(torch.from_numpy(x[name])) for name in names.split()]
    with torch.no_grad():
      o = getattr(module, name)(*arrays, **options)
    return moved(o[0] if isinstance(o, tuple) else o).numpy()

  return run


def serve(function, folder: pathlib.Path, name: str) -> None:
  """Writes outputs; prints MB, then CPU seconds of a call for each line."""

  def peak():
    lines = pathlib.Path("/proc/self/status").read_text().splitlines()
    return next(int(x.split()[1]) for x in lines if x.startswith("VmHWM"))

  x = dict(np.load(folder / "arrays.npz"))
  before = peak()
  np.save(folder / f"{name}.npy", np.asarray(function(x)))
  print((peak() - before) / 1024, flush=True)
  for _ in sys.stdin:
    begun = time.process_time()
    function(x)
    print(time.process_time() - begun, flush=True)


def compared(mixer, flags, folder: pathlib.Path):
  """Returns rows of a mixer: its peers' names and the cells of each."""
  peers = [i for i, row in enumerate(PEERS) if row[0] == mixer]
  sides = ["ours", "steps", *map(str, peers)]
  processes, root = {}, pathlib.Path(__file__).resolve().parents[1]
  paths = os.pathsep.join([str(root), os.environ.get("PYTHONPATH", "")])
  for side in sides:
    python = flags.peer_python if side.isdigit() else sys.executable
    serving = [f"--serve={side}", f"--mixers={mixer}", f"--folder={folder}"]
    processes[side] = subprocess.Popen(
      [python, __file__, f"--fla={flags.fla}", *serving],
      env={**os.environ, "PYTHONPATH": paths, "JAX_PLATFORMS": "cpu"},
      stdin=subprocess.PIPE,
      stdout=subprocess.PIPE,
      text=True,
      bufsize=1,
    )

  def answer(side):
    line = processes[side].stdout.readline()
    if not line:
      raise SystemExit(f"{mixer}: the process of {side} has ended.")
    return float(line)

  memory = {side: answer(side) for side in sides}
  best = dict.fromkeys(sides, float("inf"))
  for _ in range(flags.calls):
    for side in sides:
      processes[side].stdin.write("\n")
      best[side] = min(best[side], answer(side))
  for process in processes.values():
    process.communicate()
  outputs = {side: np.load(folder / f"{side}.npy") for side in sides}
  for i in map(str, peers):
    size = np.abs(outputs[i]).max()
    differences = [
      np.abs(outputs[side] - outputs[i]).max() / size for side in sides[:2]
    ]
    difference = max(differences)
    if not difference <= TOLERANCE:
      raise SystemExit(f"{mixer}: {PEERS[int(i)][2]} differs: {differences}.")
    ms = [f"{1e3 * best[side]:.1f}" for side in ("ours", "steps", i)]
    megabytes = [f"{memory[side]:.0f}" for side in ("ours", i)]
    ratio = f"{best[i] / best['ours']:.1f}"
    yield mixer, PEERS[int(i)][2], *ms, ratio, *megabytes, f"{difference:.0e}"


def main():
  parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
  parser.add_argument(
    "--peer_python", default=sys.executable, help="interpreter that has torch"
  )
  parser.add_argument("--fla", required=True, help="folder of the package fla")
  parser.add_argument("--mixers", nargs="+", choices=MIXERS, default=MIXERS)
  parser.add_argument("--time", type=int, default=1024, help="of a sequence")
  parser.add_argument("--calls", type=int, default=7)
  parser.add_argument("--serve", help=argparse.SUPPRESS)
  parser.add_argument("--folder", type=pathlib.Path, help=argparse.SUPPRESS)
  flags = parser.parse_args()
  if flags.serve:
    if flags.serve.isdigit():
      function = make_peer(int(flags.serve), flags.fla)
    else:
      function = make_ours(flags.mixers[0], flags.serve)
    return serve(function, flags.folder, flags.serve)
  head = "mixer", "form of fla", "ours ms", "steps ms", "fla ms", "fla / ours"
  head += "ours MB", "fla MB", "difference"
  print("|", " | ".join(head), "|")
  print("|" + "---|" * len(head))
  from benchmarks import fla_mixers

  with tempfile.TemporaryDirectory() as folder:
    folder = pathlib.Path(folder)
    np.savez(folder / "arrays.npz", **fla_mixers.draw(flags.time))
    for mixer in flags.mixers:
      for cells in compared(mixer, flags, folder):
        print("|", " | ".join(cells), "|", flush=True)


if __name__ == "__main__":
  main()
