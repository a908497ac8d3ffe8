#!/usr/bin/env bash
# Writes card.lock for the suites' newest packages:  buildroot/compose/renew-lock.sh [--mirror URL]
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source-path=SCRIPTDIR source=../../images/loaders/debian-pool.sh
. "$here/../../images/loaders/debian-pool.sh"
# shellcheck source-path=SCRIPTDIR source=packages.sh
. "$here/packages.sh"

mirror=''
[ "${1:-}" != --mirror ] || mirror=${2:?--mirror wants a URL}
{
    echo "# suite architecture package version sha256; written by renew-lock.sh"
    pool_open "$KERNEL_SUITE" arm64 "$mirror"
    pool_refresh
    kernel=$(pool_newest_kernel)
    release=${kernel#linux-image-}
    pool_lock "linux-base-$release" "linux-binary-$release" "linux-modules-$release"
    pool_open "$SUITE" arm64 "$mirror"
    pool_lock "$FIRMWARE" "$BUSYBOX" "${TOOLS[@]}"
    pool_open "$SUITE" amd64 "$mirror"
    pool_lock "$MEMTEST"
} >"$LOCK.new"
mv "$LOCK.new" "$LOCK"
