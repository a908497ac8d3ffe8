#!/usr/bin/env bash
# Makes an update bundle (docs/sd-card.md) of a card's slot A, or of a squashfs:
#
#   buildroot/bundle.sh --card RACKBERRY.IMG | --root SQUASHFS  --secret MINISIGN.KEY --out FILE
#                       [--version V] [--needs V] [--floor V] [--notes FILE]
#
# The secret key may have a password, for which minisign asks; a development key has none. needs and floor are 0.0.0 if not given.
#   buildroot/bundle.sh --new-key FOLDER      a development key: FOLDER/update.key and FOLDER/update.pub
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source-path=SCRIPTDIR source=board/layout
. "$here/board/layout"

die() {
    echo "bundle.sh: $*" >&2
    exit 1
}
command -v minisign >/dev/null || die "minisign is missing: install the package minisign"

card='' root='' secret='' out='' needs=0.0.0 floor=0.0.0 notes=/dev/null
version=$(sed -n 's/^version = "\(.*\)"/\1/p' "$here/../Cargo.toml" | head -n 1)
while [ $# -gt 0 ]; do
    case $1 in
    --card) card=${2:?} ;;
    --root) root=${2:?} ;;
    --secret) secret=${2:?} ;;
    --out) out=${2:?} ;;
    --version) version=${2:?} ;;
    --needs) needs=${2:?} ;;
    --floor) floor=${2:?} ;;
    --notes) notes=${2:?} ;;
    --new-key)
        mkdir -p "${2:?}"
        minisign -G -f -W -p "$2/update.pub" -s "$2/update.key" >/dev/null
        # The box tells by this comment that nobody vouches for what it signs.
        sed -i '1s/.*/untrusted comment: rackberry development key/' "$2/update.pub" "$2/update.key"
        exit
        ;;
    *) die "what is $1? The first lines of this file say what is known" ;;
    esac
    shift 2
done
[ -n "$out" ] || die "--out FILE is missing"
[ -s "$secret" ] || die "--secret: there is no key in ${secret:-it}"
for number in "$version" "$needs" "$floor"; do
    [[ $number =~ ^[0-9]+\.[0-9]+\.[0-9]+$ ]] || die "$number is no version: three numbers with dots between them"
done

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
if [ -n "$card" ]; then
    at=$((A_START * 512))
    # A squashfs says at byte 40 how long it is; the rest of the slot is nothing.
    used=$(od -An -tu8 -j $((at + 40)) -N 8 "$card" | tr -d ' ')
    [ "$(od -An -c -j "$at" -N 4 "$card" | tr -d ' ')" = hsqs ] || die "slot A of $card holds no squashfs"
    root=$work/root
    tail -c +$((at + 1)) "$card" | head -c $(((used + 4095) / 4096 * 4096)) >"$root" || [ -s "$root" ]
fi
[ -s "$root" ] || die "--card or --root is missing"

# As a text in JSON.
text=$(tr -d '\000-\010\013-\037' <"$notes" | sed 's/\\/\\\\/g; s/"/\\"/g; s/\t/ /g' | awk 'NR > 1 { printf "\\n" } { printf "%s", $0 }')
printf '{"format":1,"product":"rackberry","board":"pi64","arch":"aarch64","version":"%s","needs":"%s","floor":"%s","state":%d,"root":{"length":%d,"sha256":"%s"},"notes":"%s"}\n' \
    "$version" "$needs" "$floor" "$(find "$here/../appliance/daemon/src/inventory/migrations" -name '*.sql' | wc -l)" \
    "$(stat -c %s "$root")" "$(sha256sum "$root" | cut -d ' ' -f 1)" "$text" >"$work/signed"
cat "$root" >>"$work/signed"
# A key without a password says so in its second line: the bytes of its key derivation are zeros.
plain=''
[ "$(sed -n 2p "$secret" | base64 -d | od -An -tx1 -j 2 -N 2 | tr -d ' ')" != 0000 ] || plain=-W
minisign -S ${plain:+"$plain"} -s "$secret" -m "$work/signed" -x "$work/signature" -t "rackberry $version" -c 'rackberry update' >/dev/null
{
    printf 'rackberry-update 1\n'
    cat "$work/signature"
} >"$work/head"
[ "$(stat -c %s "$work/head")" -lt 1024 ] || die "the signature is too long"
truncate -s 1024 "$work/head"
cat "$work/head" "$work/signed" >"$out.new"
mv "$out.new" "$out"
