#!/bin/sh
# Unpacks the programs that read the answers of installers into the folder given, and installs none of them: cloud-init, ifupdown and
# NetworkManager would change the machine they are installed on.
set -eu

[ $# -eq 1 ] || {
    echo "usage: prepare.sh FOLDER" >&2
    exit 2
}
here=$(CDPATH='' cd -- "$(dirname -- "$0")" && pwd)
out=$1
[ ! -e "$out/done" ] || exit 0
rm -rf "$out"
mkdir -p "$out/debs" "$out/root"

# Netplan and its library are called otherwise in later releases.
names=''
for name in cloud-init ifupdown netplan.io netplan-generator libnetplan0 libnetplan1 network-manager libnm0 ignition; do
    if apt-cache policy "$name" | grep -q 'Candidate: [^(]'; then names="$names $name"; fi
done
# shellcheck disable=SC2086 # names without blanks
(cd "$out/debs" && apt-get -q download $names) >&2
for deb in "$out"/debs/*.deb; do dpkg-deb -x "$deb" "$out/root"; done

python3 -m venv "$out/venv" >&2
"$out/venv/bin/pip" download --quiet --disable-pip-version-check --no-deps --no-binary :all: --require-hashes \
    -r "$here/requirements.txt" -d "$out/debs" >&2
tar -C "$out" -xzf "$out"/debs/pykickstart-*.tar.gz
mv "$out"/pykickstart-*/ "$out/pykickstart"
rm -rf "$out/debs" "$out/venv"
touch "$out/done"
