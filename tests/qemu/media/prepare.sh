#!/usr/bin/env bash
# Unpacks what the tests boot by the catalogue's profiles, from pinned Debian packages, into the folder given; installs nothing.
#
#   prepare.sh [--mirror URL] FOLDER         FOLDER/debian-13-netboot/ as in the release's netboot.tar.gz, FOLDER/memtest86plus
#   prepare.sh [--mirror URL] --renew-lock   write media.lock for the suite's newest versions
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source-path=SCRIPTDIR source=../../../images/loaders/debian-pool.sh
. "$here/../../../images/loaders/debian-pool.sh"

SUITE=trixie
LOCK=$here/media.lock
INSTALLER=debian-installer-13-netboot-amd64
MEMTEST=memtest86+

mirror='' renew='' out=''
while [ $# -gt 0 ]; do
    case $1 in
    --mirror) mirror=${2:?--mirror wants a URL}; shift ;;
    --renew-lock) renew=1 ;;
    -*) die "unknown option $1" ;;
    *) out=$1 ;;
    esac
    shift
done

pool_open "$SUITE" amd64 "$mirror"
if [ -n "$renew" ]; then
    {
        echo "# suite architecture package version sha256; written by prepare.sh --renew-lock"
        pool_lock "$INSTALLER" "$MEMTEST"
    } >"$LOCK.new"
    mv "$LOCK.new" "$LOCK"
    exit 0
fi

[ -n "$out" ] || die "usage: prepare.sh [--mirror URL] FOLDER"
[ ! -e "$out/done" ] || exit 0
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
pool_fetch "$LOCK" "$work/debs" "$INSTALLER" "$MEMTEST"
for package in "$INSTALLER" "$MEMTEST"; do pool_unpack "$work/debs/$package.deb" "$work/root"; done
rm -rf "$out"
mkdir -p "$out/debian-13-netboot"
cp -a "$work/root/usr/lib/debian-installer/images/13/amd64/text/debian-installer" "$out/debian-13-netboot/"
install -m 644 "$work/root/boot/memtest86+x64.bin" "$out/memtest86plus"
touch "$out/done"
