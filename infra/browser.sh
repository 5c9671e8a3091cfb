#!/usr/bin/env bash
# The browser of the page tests: Debian's Chromium, found or installed.
set -euo pipefail
command -v chromium >/dev/null && exit 0
[ "$(id -u)" = 0 ] && sudo="" || sudo="sudo -n"
$sudo apt-get update -qq && $sudo env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq chromium >/dev/null || {
  echo "the page tests need Chromium; run: sudo apt-get install chromium" >&2
  exit 1
}
