#!/usr/bin/env bash
# Install Pairwright and its locked dependencies into a virtual environment.
#     bash infra/install.sh FOLDER EXTRAS      EXTRAS: platform,dev | dev-core
# pip's own configuration (index, find-links) is honoured, also where uv does the installing, so CPU
# torch comes from wherever pip was told to find it and CUDA torch comes otherwise.
set -euo pipefail
cd "$(dirname "$0")/.."
venv=$1 extras=$2
python=${PYTHON:-python3}

"$python" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 12))' || {
  echo "pairwright needs Python 3.11 or 3.12; $python is $("$python" --version). Name one: make setup PYTHON=python3.11" >&2
  exit 1
}
if [ ! -x "$venv/bin/pip" ]; then
  "$python" -m venv "$venv" 2>/dev/null || {
    rm -rf "$venv"
    [ "$(id -u)" = 0 ] && apt-get update -qq && apt-get install -y -qq python3-venv >/dev/null && "$python" -m venv "$venv"
  } || { echo "python3-venv is missing; run: sudo apt-get install python3-venv" >&2; exit 1; }
fi

pip_setting() { "$venv/bin/pip" config get "global.$1" 2>/dev/null || true; }
export UV_FIND_LINKS=${UV_FIND_LINKS:-${PIP_FIND_LINKS:-$(pip_setting find-links)}}
index=${PIP_INDEX_URL:-$(pip_setting index-url)}
[ -n "$index" ] && export UV_DEFAULT_INDEX=${UV_DEFAULT_INDEX:-$index}
[ -n "${PIP_CERT:-}" ] && export SSL_CERT_FILE=${SSL_CERT_FILE:-$PIP_CERT}
export UV_HTTP_TIMEOUT=${UV_HTTP_TIMEOUT:-300}
# Windows-free separators: pip writes several find-links on several lines, uv wants commas.
UV_FIND_LINKS=$(echo $UV_FIND_LINKS | tr ' ' ',')
export UV_FIND_LINKS

locked=requirements.lock
if [ "$extras" = dev-core ]; then
  locked=requirements-core.lock
fi
if "$venv/bin/pip" install --quiet --disable-pip-version-check "$(grep -E '^uv==' requirements-tools.txt)"; then
  "$venv/bin/uv" pip install --quiet --python "$venv/bin/python" --compile-bytecode -r $locked
  "$venv/bin/uv" pip install --quiet --python "$venv/bin/python" --no-deps --editable .
else
  "$venv/bin/pip" install --quiet -r $locked
  "$venv/bin/pip" install --quiet --no-deps --editable .
fi
