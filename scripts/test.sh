#!/bin/sh
# Runs the tests: `scripts/test.sh PYTHON JOBS quick|slow [pytest's arguments]`.
#
# The number of devices is fixed when jax starts. Tests marked "devices" need
# eight, so that they are a second run of pytest.
set -u

# Programs that tests start would compile the package's source each.
unset PYTHONDONTWRITEBYTECODE

python=$1
jobs=$2
kind=$3
shift 3

case $kind in
  quick) chosen="not slow"; limit=120 ;;
  slow) chosen="slow"; limit=1800 ;;
  *) echo "test.sh: got $kind, expected quick or slow." >&2; exit 2 ;;
esac
chosen="$chosen and not accelerator and not compile and not interop"
chosen="$chosen and not popgym and not fuzz and not site and not wheel"

run() {
  devices=$1
  shift
  "$python" -m pytest --numprocesses="$jobs" --dist=worksteal \
    --timeout=$limit --durations=60 -m "$chosen and $devices" "$@"
  status=$?
  if [ $status -eq 5 ]; then
    echo "The arguments chose no tests of this kind: $devices."
    status=0
  fi
  return $status
}

run "not devices" "$@"
one=$?
JAX_NUM_CPU_DEVICES=8 run devices "$@"
eight=$?
[ $one -eq 0 ] && [ $eight -eq 0 ]
