#!/bin/sh
# Makes a virtual environment that holds the project and its pinned
# dependencies; mends an unfinished one; leaves a complete one alone.
#
#   scripts/venv.sh .venv                with the newest Python that works
#   scripts/venv.sh .venvs/3.12 3.12     with that version; status 3 if absent
#   PYTHON=/path/to/python scripts/venv.sh .venv      with that interpreter
#   scripts/venv.sh .venvs/3.12 3.12 empty            nothing but pip in it
#
# A Python counts only if it really makes an environment with pip in it: some
# systems ship one without ensurepip, and version managers put commands on
# PATH that only say that their version is not active.
set -eu

SUPPORTED="3.13 3.12 3.11"

cd "$(dirname "$0")/.."
dir=${1:?usage: scripts/venv.sh DIR [VERSION [empty]]}
wanted=${2:-}
content=${3:-project}
case $dir in
  .venv | .venvs/?*) ;;
  *) echo "DIR must be .venv or .venvs/NAME, got '$dir'." >&2; exit 2 ;;
esac

# Settings that would make Python or pip look or write elsewhere.
unset PYTHONHOME PYTHONPATH PIP_PREFIX PIP_TARGET PIP_USER VIRTUAL_ENV

# Prints the real path of interpreter $1 if it is a usable Python $2.
probe() {
  "$1" -c '
import ctypes, os, ssl, sys, sysconfig
usable = (
  "%d.%d" % sys.version_info[:2] in sys.argv[1:]
  and sys.implementation.name == "cpython"
  and sys.maxsize > 2**32
  and not sysconfig.get_config_var("Py_GIL_DISABLED")
)
if not usable:
  sys.exit(1)
print(os.path.realpath(getattr(sys, "_base_executable", sys.executable)))
' $2 </dev/null 2>/dev/null
}

# Prints every path that may hold a Python $1, the most likely first.
candidates() {
  rest=$PATH:
  roots=${PYENV_ROOT:-}:${HOME:-}/.pyenv
  names=
  while [ -n "$rest" ]; do
    bin=${rest%%:*}
    rest=${rest#*:}
    printf '%s\n' "$bin/python$1"
    names="$names$bin/python3
$bin/python
"
    case $bin in */shims) roots=$roots:${bin%/shims} ;; esac
  done
  rest=$roots:
  while [ -n "$rest" ]; do
    root=${rest%%:*}
    rest=${rest#*:}
    printf '%s\n' "$root"/versions/"$1"*/bin/"python$1"
  done
  printf '%s\n' "${XDG_DATA_HOME:-${HOME:-}/.local/share}"/uv/python/*/bin/"python$1"
  printf '%s\n' "/usr/local/bin/python$1" "/opt/homebrew/bin/python$1"
  printf '%s' "$names"
}

# Makes an empty environment with interpreter $1.
make_empty() {
  rm -rf "$dir"
  "$1" -m venv "$dir" </dev/null >/dev/null 2>&1 &&
    "$dir/bin/python" -m pip --version </dev/null >/dev/null 2>&1
}

# Makes an empty environment with the first candidate for version $1 that can.
# Prints the interpreters that could not.
make_with_version() {
  candidates "$1" | {
    tried="
"
    while IFS= read -r path; do
      [ -x "$path" ] || continue
      python=$(probe "$path" "$1") || continue
      case $tried in *"
$python
"*) continue ;; esac
      tried="$tried$python
"
      if make_empty "$python"; then exit 0; fi
      printf ' %s' "$python"
    done
    exit 1
  }
}

make_any() {
  if [ -n "${PYTHON:-}" ]; then
    if ! python=$(probe "$PYTHON" "$SUPPORTED"); then
      echo "PYTHON=$PYTHON is not a Python 3.11, 3.12 or 3.13 that runs here" \
        "(64-bit CPython with the GIL is needed)." >&2
      exit 2
    fi
    if make_empty "$python"; then return; fi
    echo "PYTHON=$PYTHON cannot make a virtual environment: is its venv or" \
      "ensurepip module missing?" >&2
    exit 2
  fi
  failed=
  for version in ${wanted:-$SUPPORTED}; do
    if unable=$(make_with_version "$version"); then return; fi
    failed=$failed$unable
  done
  rm -rf "$dir"
  echo "No Python ${wanted:-3.11, 3.12 or 3.13} that can make a virtual" \
    "environment was found${failed:+ (tried without success:$failed)}:" \
    "install one, or name one with PYTHON=/path/to/python." >&2
  exit 3
}

# True if the environment was made by the interpreter that PYTHON asks for.
is_asked_for() {
  [ -z "${PYTHON:-}" ] ||
    [ "$(probe "$PYTHON" "$SUPPORTED")" = "$(probe "$dir/bin/python" "$SUPPORTED")" ]
}

if [ "$content" = empty ]; then
  make_any
  exit 0
fi

# An environment knows its absolute path, so a copied or moved one is remade.
place="$(pwd)/$dir"
inputs=$(cat pyproject.toml constraints/*.txt scripts/venv.sh | cksum)
stamp=$dir/.complete

old_place=
old_inputs=
if [ -f "$stamp" ] && "$dir/bin/python" -c '' 2>/dev/null && is_asked_for; then
  { IFS= read -r old_place && IFS= read -r old_inputs; } <"$stamp" || :
fi
if [ "$old_place" = "$place" ] && [ "$old_inputs" = "$inputs" ]; then
  exit 0
fi
# A complete environment is only brought up to date; any other starts afresh,
# for an interrupted pip may have left half a package.
rm -f "$stamp"
if [ "$old_place" != "$place" ]; then
  make_any
fi

python=$dir/bin/python
version=$("$python" -c 'import sys; print("%d.%d" % sys.version_info[:2])')
quiet=--quiet
if [ -t 1 ]; then quiet=; fi
pip_install() {
  "$python" -m pip --disable-pip-version-check --no-input install $quiet \
    --no-compile --constraint "constraints/$version.txt" "$@" </dev/null
}
# uv needs a third of pip's time, but does not read pip's configuration: where
# it reaches no index, pip is asked.
uv_install() {
  "$python" -m uv pip install --python "$python" --quiet --no-cache \
    --constraint "constraints/$version.txt" "$@" </dev/null 2>/dev/null
}
echo "Installing jaxseq for Python $version in $dir (a minute or two)."
# The build runs with the pinned setuptools, not with the newest of the day.
pip_install setuptools uv
project="--no-build-isolation --editable .[dev]"
if ! uv_install $project; then
  echo "uv could not install the dependencies; pip does."
  pip_install $project
fi
# Compiled by as many processes as there are cores, and without the packages'
# own tests and what is large and hardly imported; pip compiles all that it
# installs, one file after the other.
"$python" -m compileall -q -j 0 \
  -x '/(tests|debugpy|fontTools|onnxruntime|openai|pip|pygments|setuptools)/' \
  "$dir"/lib/python*/site-packages </dev/null >/dev/null 2>&1 || :
printf '%s\n' "$place" "$inputs" >"$stamp"
