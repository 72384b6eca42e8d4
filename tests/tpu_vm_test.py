"""scripts/tpu_vm.sh, with a gcloud that runs the hosts' commands right here."""

import os
import pathlib
import subprocess
import time

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[1]

# What it is asked for is written down; `ssh` runs its command in the home of a
# host, whose python tells its arguments and waits for SIGTERM.
GCLOUD = """#!/bin/sh
printf '%s\\n' "$*" >>"{home}/gcloud.log"
for word; do
  case $word in
    --command=*) cd "{home}/host" && exec sh -c "${{word#--command=}}" ;;
  esac
done
"""
PYTHON = """#!/bin/sh
echo "$@"
trap 'echo saved; exit 0' TERM
while :; do sleep 0.05; done
"""


@pytest.fixture
def call(tmp_path):
  interpreter = tmp_path / "host/jaxseq/.venv/bin/python"
  interpreter.parent.mkdir(parents=True)
  for path, text in (
    (tmp_path / "bin/gcloud", GCLOUD.format(home=tmp_path)),
    (interpreter, PYTHON),
  ):
    path.parent.mkdir(exist_ok=True)
    path.write_text(text)
    path.chmod(0o755)

  def run(*words, **variables):
    return subprocess.run(
      ["sh", ROOT / "scripts/tpu_vm.sh", *words],
      cwd=ROOT,
      env={
        "PATH": f"{tmp_path}/bin:{os.environ['PATH']}",
        "TMPDIR": str(tmp_path),
        "TPU_NAME": "seq",
        "TPU_ZONE": "somewhere",
        **variables,
      },
      capture_output=True,
      text=True,
      timeout=30,
      check=False,
    )

  return run


def until(condition):
  deadline = time.monotonic() + 20
  while not condition():
    assert time.monotonic() < deadline
    time.sleep(0.05)


def test_run_watch_stop(call, tmp_path):
  log = tmp_path / "host/jaxseq/run.log"
  words = ("classify", "--config=a b.py:tiny", "--workdir=/mnt/x")
  assert call("run", *words).returncode == 0
  try:
    until(lambda: log.exists() and log.read_text())
    assert log.read_text() == (
      "-m experiments.classify --distributed --config=a b.py:tiny "
      "--workdir=/mnt/x\n"
    )
    second = call("run", *words)
    assert second.returncode == 1
    assert "a run is going on here" in second.stderr
    assert "experiments.classify" in call("watch").stdout
  finally:
    assert call("stop").returncode == 0
  until(lambda: "saved" in log.read_text())
  until(lambda: "no run is going on" in call("stop").stderr)


def test_create_and_delete(call, tmp_path):
  options = {"TPU_TYPE": "v5litepod-16", "TPU_RUNTIME": "v2-alpha-tpuv5-lite"}
  assert call("create", **options, TPU_SPOT="1").returncode == 0
  assert call("delete").returncode == 0
  create, delete = (tmp_path / "gcloud.log").read_text().splitlines()
  assert create == (
    "compute tpus queued-resources create seq --node-id=seq --zone=somewhere "
    "--accelerator-type=v5litepod-16 --runtime-version=v2-alpha-tpuv5-lite "
    "--spot"
  )
  assert delete == (
    "compute tpus queued-resources delete seq --zone=somewhere --force --quiet"
  )


def test_a_dry_run_only_prints(call, tmp_path):
  told = call("install", TPU_DRY_RUN="1")
  assert told.returncode == 0
  assert "'compute' 'tpus' 'tpu-vm' 'scp'" in told.stdout
  assert "make venv" in told.stdout
  assert not (tmp_path / "gcloud.log").exists()


def test_what_is_missing(call):
  assert "there is no action 'fly'" in call("fly").stderr
  assert "TPU_TYPE is not set" in call("create").stderr
  assert "TPU_ZONE is not set" in call("watch", TPU_ZONE="").stderr
  assert "name an experiment" in call("run").stderr
