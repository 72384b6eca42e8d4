"""What the benchmark runs on: chip, driver, versions, and its limits."""

import importlib.metadata
import platform
import subprocess

import jax

from benchmarks.accelerators import measuring

_QUERY = "--query-gpu=driver_version", "--format=csv,noheader"


def described() -> dict[str, str]:
  """Chip, driver and versions; "absent" for what is not installed."""
  device = jax.devices()[0]
  found = {
    "chip": device.device_kind,
    "platform": device.platform,
    "driver": _driver(),
    "python": platform.python_version(),
  }
  for name in ("jax", "jaxlib", "torch", "triton", "jax-linear-attention"):
    found[name] = version(name)
  return found


def version(package: str) -> str:
  """The installed version of a package, or "absent"."""
  try:
    return importlib.metadata.version(package)
  except importlib.metadata.PackageNotFoundError:
    return "absent"


def measured(tiny: bool) -> dict[str, float]:
  """What the chip can do at best.

  Args:
    tiny: in sizes for a CPU.

  Returns:
    GB per second of copies, TFLOP/s of products of bfloat16 and of float32 at
    default precision (TF32 on GPUs, one pass of bfloat16 on TPUs), and
    microseconds of a step of a loop with one kernel in it, and with five.
  """
  size, width, steps = (2**22, 128, 20) if tiny else (2**29, 8192, 1000)
  return {
    "copy_gb_s": measuring.copied(size) / 1e9,
    "bf16_tflop_s": measuring.multiplied(width, "bfloat16") / 1e12,
    "f32_tflop_s": measuring.multiplied(width, "float32") / 1e12,
    "loop_us_1": measuring.loop_step(1, steps),
    "loop_us_5": measuring.loop_step(5, steps),
  }


def _driver():
  """The driver of an NVIDIA GPU, or "absent"."""
  command = [
    "nvidia-smi",
    "--query-gpu=driver_version",
    "--format=csv,noheader",
  ]
  try:
    found = subprocess.run(
      command, capture_output=True, text=True, check=True, timeout=30
    )
  except (OSError, subprocess.SubprocessError):
    return "absent"
  return found.stdout.split("\n")[0].strip()
