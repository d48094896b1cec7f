#!/usr/bin/env bash
# Makes .venv with uv in it: the first step of every make target. PYTHON names the interpreter; else the first fit one.
set -euo pipefail

fits() { "$1" -c 'import sys; sys.exit(not (3, 10) <= sys.version_info[:2] <= (3, 13))' 2>/dev/null; }

choose() {
  local name
  for name in ${PYTHON:-python3 python3.13 python3.12 python3.11 python3.10}; do
    if fits "$name"; then
      command -v "$name"
      return
    fi
  done
  echo "no Python 3.10 to 3.13 found (tried: ${PYTHON:-python3, python3.13 ... python3.10})." \
    "Next: install one, or name it: make PYTHON=/path/to/python3.12 demo" >&2
  return 1
}

python=$(choose)
if ! "$python" -c 'import ensurepip, venv' 2>/dev/null; then
  version=$("$python" -c 'import sys; print("%d.%d" % sys.version_info[:2])')
  echo "$python cannot make virtual environments: ensurepip is missing." \
    "Next (Debian, Ubuntu): sudo apt-get install python3-venv   # or python$version-venv" >&2
  exit 1
fi
# A half-made or foreign .venv is made anew; a good one is kept, because clusters may be running out of it.
if ! { [ -x .venv/bin/python ] && fits .venv/bin/python && [ -x .venv/bin/pip ]; }; then
  rm -rf .venv
  echo "making .venv with $("$python" --version)"
  "$python" -m venv .venv
fi
.venv/bin/python -m pip install --quiet --disable-pip-version-check -c constraints.txt uv
