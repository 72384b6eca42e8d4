#!/bin/sh
# Writes constraints/VERSION.txt for every supported Python that is present: the
# newest releases that fit together, of every dependency in every extra.
set -eu

cd "$(dirname "$0")/.."

games=brax,craftax,jaxmarl,navix,xminigrid
for version in 3.11 3.12 3.13; do
  dir=.venvs/constraints
  status=0
  PYTHON= sh scripts/venv.sh "$dir" "$version" empty || status=$?
  case $status in
    0) ;;
    3) continue ;;
    *) exit "$status" ;;
  esac
  "$dir/bin/python" -m pip --no-input install --quiet --upgrade setuptools
  "$dir/bin/python" -m pip --no-input install --quiet --no-build-isolation \
    --editable ".[dev,$games,playground,rna,tokamax,tokenizers]"
  {
    echo "# Made by \`make constraints\`; used by \`make venv\` on Python $version."
    "$dir/bin/python" -m pip freeze --all --exclude jaxseq --exclude pip
  } >"constraints/$version.txt.new"
  mv "constraints/$version.txt.new" "constraints/$version.txt"
  echo "Wrote constraints/$version.txt."
done
rm -rf .venvs/constraints
