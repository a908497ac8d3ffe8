#!/usr/bin/env bash
# Writes ramos.lock for the suite's newest packages:  images/ramos/renew-lock.sh [--mirror URL]
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source-path=SCRIPTDIR source=../loaders/debian-pool.sh
. "$here/../loaders/debian-pool.sh"
# shellcheck source-path=SCRIPTDIR source=packages.sh
. "$here/packages.sh"

mirror=''
[ "${1:-}" != --mirror ] || mirror=${2:?--mirror wants a URL}
{
    echo "# suite architecture package version sha256; written by renew-lock.sh"
    for arch in amd64 arm64; do
        pool_open "$SUITE" "$arch" "$mirror"
        pool_refresh
        pool_lock "$(pool_newest_kernel)" busybox-static "${FIRMWARE[@]}" "${TOOLS[@]}"
    done
} >"$LOCK.new"
mv "$LOCK.new" "$LOCK"
