"""The compilers of a TPU v5e and an H100, without the hardware.

Needs libtpu and JAX's CUDA plugin (`make test-compile` installs them); they
compile for a described device and run nothing.
"""

import contextlib
import functools
import glob
import os
import sysconfig
from unittest import mock

import jax
from jax.experimental import topologies
from jax.extend import backend as extend_backend
from jax.sharding import SingleDeviceSharding

from jaxseq.recurrence import kernels

# What XLA's code generation asks of a device: NVIDIA's data sheet of the H100
# SXM, and the limits of compute capability 9.0.
_H100 = {
  "threads_per_block_limit": 1024,
  "threads_per_warp": 32,
  "shared_memory_per_block": 48 * 1024,
  "shared_memory_per_block_optin": 227 * 1024,
  "shared_memory_per_core": 228 * 1024,
  "threads_per_core_limit": 2048,
  "core_count": 132,
  "fpus_per_core": 128,
  "block_dim_limit_x": 2**31 - 1,
  "block_dim_limit_y": 2**16 - 1,
  "block_dim_limit_z": 2**16 - 1,
  "thread_dim_limit_x": 1024,
  "thread_dim_limit_y": 1024,
  "thread_dim_limit_z": 64,
  "registers_per_core_limit": 65536,
  "registers_per_block_limit": 65536,
  "memory_bandwidth": 3_352_000_000_000,
  "l2_cache_size": 50 * 2**20,
  "clock_rate_ghz": 1.98,
  "device_memory_size": 80 * 10**9,
  "device_address_bits": 64,
  "cuda_compute_capability": {"major": 9, "minor": 0},
  "name": '"NVIDIA H100 80GB HBM3"',
  "device_vendor": '"NVIDIA Corporation"',
  "driver_version": '"12.8.0"',
  "runtime_version": '"12.8.0"',
  "compile_time_toolkit_version": '"12.8.0"',
  "dnn_version": '"9.10.0"',
}

_CHIPS = {"tpu": "TPU v5 lite", "cuda": "sm_90"}


def _text(fields: dict) -> str:
  """Fields of a protocol buffer in its text form."""
  return " ".join(
    f"{name} {{ {_text(value)} }}"
    if isinstance(value, dict)
    else f"{name}: {value}"
    for name, value in fields.items()
  )


@functools.cache
def sharding(platform: str) -> SingleDeviceSharding:
  """Returns the sharding on one described device.

  Args:
    platform: "tpu" (v5e) or "cuda" (H100).
  """
  if platform == "tpu":
    # No question to the metadata server of a cloud machine.
    os.environ.setdefault("TPU_SKIP_MDS_QUERY", "1")
    topology = topologies.get_topology_desc(
      platform="tpu", topology_name="v5e:2x2"
    )
  else:
    _put_ptxas_on_path()
    config = {
      "gpu_device_info": _H100,
      "platform_name": '"CUDA"',
      "dnn_version_info": {"major": 9, "minor": 10, "patch": 0},
      "device_description_str": _H100["name"],
    }
    topology = topologies.get_topology_desc(
      platform="cuda",
      topology="1x1x1",
      target_config=_text(config),
    )
  return SingleDeviceSharding(topology.devices[0])


def _put_ptxas_on_path():
  packages = sysconfig.get_paths()["purelib"]
  found = glob.glob(f"{packages}/nvidia/*/bin/ptxas")
  if not found:
    raise FileNotFoundError("ptxas is missing: install nvidia-cuda-nvcc-cu12.")
  os.environ["PATH"] = os.pathsep.join(
    [os.path.dirname(found[0]), os.environ["PATH"]]
  )


def compiled(platform: str, function, *arguments):
  """Compiles a function for shapes.

  Methods and chunk sizes are those of the platform.

  Args:
    platform: as in `sharding`.
    function: to compile.
    *arguments: pytrees of arrays or shapes.

  Returns:
    The compiled program; it cannot be run.
  """
  place = sharding(platform)
  shapes = jax.tree.map(
    lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=place),
    arguments,
  )
  with choosing_for(platform):
    lowered = jax.jit(function).lower(*shapes)
  return lowered.compile()


def _device(platform):
  """The device that is described, or this machine's."""
  if platform not in _CHIPS:
    return jax.devices()[0]
  (device,) = sharding(platform).device_set
  return device


@contextlib.contextmanager
def choosing_for(platform: str, chip: str | None = None):
  """Choices are as on a machine with that chip inside.

  Args:
    platform: "cpu", "tpu" or "cuda".
    chip: as `kernels.contexts.machine` gives it; the one that is compiled for
      if None.
  """
  backend = "gpu" if platform == "cuda" else platform
  chip = chip or _CHIPS.get(platform)
  # What was traced for another platform may hold that platform's choices: not
  # all of them are made by `kernels.choice`.
  jax.clear_caches()
  with (
    mock.patch.object(jax, "default_backend", return_value=backend),
    # By which tokamax chooses.
    mock.patch.object(
      extend_backend, "get_default_device", functools.partial(_device, platform)
    ),
    kernels.choosing_for(backend, chip),
  ):
    yield
