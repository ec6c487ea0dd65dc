#!/bin/sh
# The report's tests open it in a real browser. Debian and its kin get one here; elsewhere say how.
set -eu
for name in chromium chromium-browser google-chrome; do
    command -v "$name" >/dev/null 2>&1 && exit 0
done
if command -v apt-get >/dev/null 2>&1 && [ "$(id -u)" = 0 ]; then
    apt-get update -qq && apt-get install -y -qq --no-install-recommends chromium >/dev/null
    exit 0
fi
echo "error: the tests need Chromium: install it (Debian, Ubuntu: sudo apt-get install chromium)" >&2
exit 2
