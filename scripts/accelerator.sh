#!/bin/sh
# Brings JAX for the accelerator of this machine into an environment: the wheels
# of the CUDA that the driver of a GPU knows, or those of a TPU, of the version
# of JAX that is there. Does nothing where there is neither, or nothing missing.
#
#   scripts/accelerator.sh .venvs/accelerator
set -eu

cd "$(dirname "$0")/.."
python=${1:?usage: scripts/accelerator.sh DIR}/bin/python

# Prints "cuda13", "cuda12", "tpu" or nothing.
kind() {
  if command -v nvidia-smi >/dev/null 2>&1; then
    # From its header: "CUDA Version: 12.8".
    major=$(nvidia-smi 2>/dev/null |
      sed -n 's/.*CUDA Version: *\([0-9][0-9]*\).*/\1/p' | head -n 1)
    if [ -n "$major" ] && [ "$major" -ge 13 ]; then
      echo cuda13
      return
    fi
    if [ -n "$major" ] && [ "$major" -eq 12 ]; then
      echo cuda12
      return
    fi
    echo "No CUDA 12 or later by nvidia-smi (got '$major'): its driver is too" \
      "old for JAX." >&2
  fi
  for device in "${ACCEL_DEVICES:-/dev}"/accel0 "${ACCEL_DEVICES:-/dev}"/vfio/0; do
    if [ -e "$device" ]; then
      echo tpu
      return
    fi
  done
}

found=$(kind)
if [ -z "$found" ]; then
  echo "Neither a GPU nor a TPU is here: JAX stays that for CPUs."
  exit 0
fi
version=$("$python" -c 'import sys; print("%d.%d" % sys.version_info[:2])')
jax=$("$python" -c 'import jax; print(jax.__version__)')
stamp=${1}/.accelerator
if [ "$(cat "$stamp" 2>/dev/null)" = "$found $jax" ]; then
  exit 0
fi
echo "Installing jax[$found] $jax in $1 (some gigabytes)."
"$python" -m pip --disable-pip-version-check --no-input install --quiet \
  --constraint "constraints/$version.txt" "jax[$found]==$jax" </dev/null
printf '%s\n' "$found $jax" >"$stamp"
