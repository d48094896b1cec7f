#!/usr/bin/env bash
# Everything that can be said about the code without running it. All checks run; the last line names those that failed.
set -uo pipefail
export PATH="$PWD/.venv/bin:$PATH"
failed=()

check() {
  local name=$1 began=$SECONDS output
  shift
  if output=$("$@" 2>&1); then
    printf '%-12s ok  %3d s\n' "$name" $((SECONDS - began))
  else
    printf '%s\n%-12s FAILED\n' "$output" "$name"
    failed+=("$name")
  fi
}

notebooks() { git ls-files -z '*.ipynb' | xargs -0 --no-run-if-empty nbstripout --verify; }

# The reference pages in docs/ are written from the models and the verb tree; --check says when they are out of date.
reference() {
  local script
  for script in scripts/*_reference.py; do python "$script" --check || return 1; done
}

check lint ruff check --quiet .
check format ruff format --check --quiet .
check types mypy
check layers lint-imports
check notebooks notebooks
check sizes python scripts/check_sizes.py
check reference reference
check docs mkdocs build --quiet --strict --site-dir build/docs
if ((${#failed[@]})); then
  echo "make check failed: ${failed[*]}"
  exit 1
fi
