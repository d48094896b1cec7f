#!/usr/bin/env bash
# Installs the extra [train], PyTorch and ONNX, into .venv for the tutorials' tests: in the smallest form that runs here.
# Exit status: 0 all there, 3 it could not be installed (its tests will be skipped), 1 the same, and AZRAY_REQUIRE names
# torch. INSTALL is what the Makefile installs by; pip knows neither of the two forms and takes the package index's own.
set -euo pipefail

install=${INSTALL:-bash scripts/install.sh}
log=$(mktemp)
trap 'rm -f "$log"' EXIT
try() { $install "$@" -e ".[train]" >"$log" 2>&1; }

by_uv() {
  # uv asks PyTorch's own index for the build that fits the driver here, and without one for the CPU's: 0.2 GB to load.
  UV_HTTP_RETRIES=1 try --torch-backend auto && return
  echo "not from PyTorch's own index ($(tail -n 1 "$log" | sed 's/^ *//')): the package index's build takes 4 to 5 GB"
  if [ -e /proc/driver/nvidia/version ]; then
    try
  else
    # That build does not load without CUDA's libraries; but those which it only loads on a GPU can stay away.
    try --excludes scripts/unused_without_gpu.txt
  fi
}

case $install in
*scripts/install.sh) by_uv ;;
*) try ;;
esac && .venv/bin/python -c "import onnx, onnxruntime, onnxscript, torch" 2>"$log" && exit

echo "torch is missing: $(tail -n 3 "$log" | tr '\n' ' ')" >&2
case ",${AZRAY_REQUIRE:-}," in
*,torch,*) exit 1 ;;
*) exit 3 ;;
esac
