#!/usr/bin/env bash
# Resolve pyproject.toml anew: requirements.lock (everything) and requirements-core.lock (no platform).
# CUDA's packages are left out of the lock: they follow the torch that the installer finds.
set -euo pipefail
cd "$(dirname "$0")/.."
uv=.venv/bin/uv
cuda='^(nvidia-(cublas|cuda|cudnn|cufft|cufile|curand|cusolver|cusparse|cusparselt|nccl|nvjitlink|nvshmem|nvtx)[a-z0-9-]*|cuda-[a-z]+|triton)=='
resolve() {
  env -u UV_FIND_LINKS -u UV_DEFAULT_INDEX "$uv" pip compile --quiet --universal --python-version 3.11 --no-annotate \
    --no-header "${@:2}" pyproject.toml | grep -vE "$cuda" >"$1"
}
resolve requirements.lock --extra platform --extra dev
resolve requirements-core.lock --extra dev-core --constraint requirements.lock
