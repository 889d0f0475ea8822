#!/usr/bin/env bash
# Runs the tests of packages for Windows under Wine: test.sh [GO-TEST-FLAGS] PACKAGES...
# It skips, with a reason, where no Windows programs can run.
#
# Wine before 9 answers "not implemented" when Go removes a file, which Windows never does: Go tries
# the older call only after other answers. So the tests are built with a library that takes this
# answer too. The programs that users get are not.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
if ! why=$("$here/run.sh" --check); then
  echo "skipped: $why"
  exit 0
fi
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
file=$(go env GOROOT)/src/internal/syscall/windows/at_windows.go
# 0xC0000002 is STATUS_NOT_IMPLEMENTED, 0xC0000010 STATUS_INVALID_DEVICE_REQUEST.
sed 's|^\t\tSTATUS_NOT_SUPPORTED: |\t\tNTStatus(0xC0000002), NTStatus(0xC0000010), STATUS_NOT_SUPPORTED: |' "$file" >"$work/at_windows.go"
printf '{"Replace":{"%s":"%s"}}' "$file" "$work/at_windows.go" >"$work/overlay.json"
CGO_ENABLED=0 GOOS=windows GOARCH=amd64 go test -overlay "$work/overlay.json" -exec "$here/run.sh" "$@"
