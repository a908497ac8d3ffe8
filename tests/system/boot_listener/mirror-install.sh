#!/bin/sh
# What coreos-install and flatcar-install ask of a mirror, in their order and with the options of their wget: both files looked for
# by HEAD, the signature, then the image, which is verified and unpacked. Written from their contract; unlike them it unpacks
# only what was verified.
# mirror-install.sh coreos|flatcar BASEURL VERSION TARGET KEYRING
set -eu

kind=$1
base=${2%/}
version=$3
target=$4
keyring=$5

die() {
    printf '%s\n' "mirror-install: $*" >&2
    exit 1
}

case $kind in
coreos) ask() { wget --inet4-only "$@"; } ;;
flatcar) ask() { wget --tries 10 --timeout=20 --retry-connrefused "$@"; } ;;
*) die "there is no kind $kind: coreos, flatcar" ;;
esac

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

if [ "$kind" = flatcar ] && [ "$version" = current ]; then
    version=$(ask -qO- "$base/current/version.txt" | sed -n 's/^FLATCAR_VERSION=//p')
    [ -n "$version" ] || die "version.txt unavailable: $base/current/version.txt"
fi

image=$base/$version/${kind}_production_image.bin.bz2
ask --spider --quiet "$image" || die "image unavailable: $image"
ask --spider --quiet "$image.sig" || die "signature unavailable: $image.sig"
ask --no-verbose -O "$work/image.sig" "$image.sig" || die "the download of the signature broke off"
ask --no-verbose -O "$work/image" "$image" || die "the download of the image broke off"
gpgv --keyring "$keyring" "$work/image.sig" "$work/image" || die "the signature of $image does not hold"
bunzip2 --stdout "$work/image" >"$work/disk" || die "$image cannot be unpacked"
cat "$work/disk" >"$target"
printf '%s\n' "mirror-install: $version is on $target"
