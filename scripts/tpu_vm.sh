#!/bin/sh
# One TPU slice from creation to clean-up, by gcloud:
#
#   export TPU_NAME=seq TPU_ZONE=us-west4-a TPU_TYPE=v5litepod-16
#   export TPU_RUNTIME=v2-alpha-tpuv5-lite        # and TPU_SPOT=1 if it may be
#   scripts/tpu_vm.sh create                      # taken away
#   scripts/tpu_vm.sh describe                    # until it is ACTIVE
#   scripts/tpu_vm.sh install                     # this commit, on every host
#   scripts/tpu_vm.sh run classify --config=configs/classify/digits.py \
#     --workdir=/mnt/runs/digits --mesh=data=0
#   scripts/tpu_vm.sh watch                       # the log of every host
#   scripts/tpu_vm.sh stop                        # saves, then ends
#   scripts/tpu_vm.sh delete
#
# TPU_DRY_RUN=1 prints the commands instead of running them. docs/tpu_vm.md says
# what to know before.
set -eu

need() {
  for name in "$@"; do
    eval "value=\${$name:-}"
    if [ -z "$value" ]; then
      echo "tpu_vm.sh: $name is not set; see the head of this file." >&2
      exit 2
    fi
  done
}

call() {
  if [ -n "${TPU_DRY_RUN:-}" ]; then
    printf '%s' "$1"
    shift
    for word in "$@"; do printf ' %s' "'$word'"; done
    echo
  else
    "$@"
  fi
}

tpu() {
  command=$1
  shift
  call gcloud compute tpus tpu-vm "$command" "$TPU_NAME" --zone="$TPU_ZONE" "$@"
}

everywhere() {
  tpu ssh --worker=all --command="$1"
}

running="kill -0 \$(cat run.pid 2>/dev/null) 2>/dev/null"

usage() {
  sed -n '2,/^set/s/^# \{0,1\}//p' "$0" >&2
  exit 2
}

[ $# -ge 1 ] || usage
action=$1
shift
case $action in
  create | describe | install | run | watch | stop | delete) ;;
  -h | --help) usage ;;
  *) echo "tpu_vm.sh: there is no action '$action'." >&2; usage ;;
esac
need TPU_NAME TPU_ZONE

case $action in
  create)
    need TPU_TYPE TPU_RUNTIME
    # A queued request waits for a slice instead of failing when none is free.
    call gcloud compute tpus queued-resources create "$TPU_NAME" \
      --node-id="$TPU_NAME" --zone="$TPU_ZONE" \
      --accelerator-type="$TPU_TYPE" --runtime-version="$TPU_RUNTIME" \
      ${TPU_SPOT:+--spot}
    ;;
  describe)
    call gcloud compute tpus queued-resources describe "$TPU_NAME" \
      --zone="$TPU_ZONE" --format='value(state)'
    ;;
  install)
    # Every host must run the same commit.
    commit=$(git rev-parse --short HEAD)
    archive=${TMPDIR:-/tmp}/jaxseq-$commit.tar.gz
    call git archive --format=tar.gz --prefix=jaxseq/ -o "$archive" HEAD
    call gcloud compute tpus tpu-vm scp "$archive" \
      "$TPU_NAME:jaxseq.tar.gz" --zone="$TPU_ZONE" --worker=all
    everywhere "if (cd jaxseq 2>/dev/null && $running); then \
echo 'a run is going on here' >&2; exit 1; fi; \
rm -rf jaxseq && tar xzf jaxseq.tar.gz && cd jaxseq && \
make venv && .venv/bin/python -m pip install --quiet \
\"jax[tpu]==\$(.venv/bin/python -c 'import jax; print(jax.__version__)')\""
    ;;
  run)
    [ $# -ge 1 ] || { echo "tpu_vm.sh run: name an experiment." >&2; exit 2; }
    experiment=$1
    shift
    arguments=
    for word in "$@"; do arguments="$arguments '$word'"; done
    # All hosts start within the five minutes that jax.distributed waits. The
    # run outlives the connection.
    everywhere "cd jaxseq && if $running; then \
echo 'a run is going on here' >&2; exit 1; fi; \
nohup .venv/bin/python -m experiments.$experiment --distributed$arguments \
>run.log 2>&1 </dev/null & echo \$! >run.pid"
    ;;
  watch)
    everywhere "tail -n 5 jaxseq/run.log"
    ;;
  stop)
    # One host is enough: the processes agree on the step where all stop.
    tpu ssh --worker=0 --command="cd jaxseq && if $running; then \
kill -TERM \$(cat run.pid); else echo 'no run is going on' >&2; exit 1; fi"
    ;;
  delete)
    call gcloud compute tpus queued-resources delete "$TPU_NAME" \
      --zone="$TPU_ZONE" --force --quiet
    ;;
esac
