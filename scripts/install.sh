#!/usr/bin/env bash
# Installs requirements into .venv by uv, from the package index that pip is configured for: uv reads no pip.conf and no
# PIP_* variable, and a machine behind a mirror has nothing else.
set -euo pipefail

pip_setting() { # env before files: that is how pip itself chooses, and how `pip config list` sorts
  .venv/bin/python -m pip config list 2>/dev/null | sed -n "s/^[a-z:]*\.$1='\(.*\)'\$/\1/p" | head -n 1
}

index=$(pip_setting index-url) extra=$(pip_setting extra-index-url) cert=$(pip_setting cert)
[ -z "$index" ] || export UV_DEFAULT_INDEX=${UV_DEFAULT_INDEX:-$index}
# Several addresses are printed as one text with \n between them.
[ -z "$extra" ] || export UV_INDEX=${UV_INDEX:-${extra//\\n/ }}
[ -z "$cert" ] || export SSL_CERT_FILE=${SSL_CERT_FILE:-$cert}
exec .venv/bin/uv pip install --quiet --python .venv/bin/python -c constraints.txt "$@"
