#!/bin/sh
# Makes rackberry_VERSION_ARCH.deb in --out: the static --program, the units, and what machines boot from the prepared --share.
# Plain dpkg-deb: a static program has no libraries to depend on, and nothing is compiled on the machine that installs it.
# The same input makes the same bytes; SOURCE_DATE_EPOCH is the last commit's time if it is not set.
set -eu

usage() {
    echo "usage: build.sh --arch amd64|arm64 --program FILE --share FOLDER --out FOLDER" >&2
    exit 2
}

arch='' program='' share='' out=''
while [ $# -gt 0 ]; do
    [ $# -ge 2 ] || usage
    case $1 in
    --arch) arch=$2 ;;
    --program) program=$2 ;;
    --share) share=$2 ;;
    --out) out=$2 ;;
    *) usage ;;
    esac
    shift 2
done
case $arch in
amd64 | arm64) ;;
*) usage ;;
esac
if [ ! -f "$program" ] || [ ! -d "$share/loaders" ] || [ ! -d "$share/ramos" ] || [ -z "$out" ]; then usage; fi

here=$(CDPATH='' cd -- "$(dirname -- "$0")" && pwd)
top=$here/../../..
version=$(sed -n 's/^version = "\(.*\)"/\1/p' "$top/Cargo.toml" | head -n 1)
[ -n "$version" ] || {
    echo "deb: no version in $top/Cargo.toml" >&2
    exit 1
}
SOURCE_DATE_EPOCH=${SOURCE_DATE_EPOCH:-$(git -C "$top" log -1 --format=%ct 2>/dev/null || echo 0)}
export SOURCE_DATE_EPOCH

tree=$(mktemp -d)
trap 'rm -rf "$tree"' EXIT
umask 022
install -D -m 755 "$program" "$tree/usr/bin/rackberry"
for unit in "$here"/../systemd/*; do
    install -D -m 644 "$unit" "$tree/usr/lib/systemd/system/$(basename "$unit")"
done
mkdir -p "$tree/usr/share/rackberry"
cp -RL "$share/loaders" "$share/ramos" "$top/images/catalog" "$tree/usr/share/rackberry/"
# What a test holds the profiles against is for the source alone.
find "$tree/usr/share/rackberry/catalog" -type d -name expected -prune -exec rm -rf {} +
install -D -m 644 "$here/rackberry.toml" "$tree/etc/rackberry/rackberry.toml"
doc=$tree/usr/share/doc/rackberry
install -d "$doc"
install -m 644 "$here/copyright" "$top/README.md" "$top/LICENSE-MIT" "$top/LICENSE-APACHE" "$top"/docs/*.md "$top/docs/rackberry.toml" "$doc/"
find "$tree" -type d -exec chmod 755 {} +
find "$tree/usr/share" "$tree/etc" -type f -exec chmod 644 {} +

install -d "$tree/DEBIAN"
for script in postinst prerm postrm; do
    install -m 755 "$here/$script" "$tree/DEBIAN/$script"
done
echo /etc/rackberry/rackberry.toml >"$tree/DEBIAN/conffiles"
installed_kib=$(du -sk --apparent-size "$tree" | cut -f1)
sed -e "s/@VERSION@/$version/" -e "s/@ARCH@/$arch/" -e "s/@SIZE@/$installed_kib/" "$here/control" >"$tree/DEBIAN/control"
(cd "$tree" && find usr -type f -print0 | LC_ALL=C sort -z | xargs -0 md5sum) >"$tree/DEBIAN/md5sums"
find "$tree" -print0 | xargs -0 touch -h -d "@$SOURCE_DATE_EPOCH"

mkdir -p "$out"
package=$out/rackberry_${version}_$arch.deb
# RAM OS and loaders are packed already; more effort would not make them smaller.
dpkg-deb --build --root-owner-group -Zxz -z1 "$tree" "$package.tmp" >&2
mv "$package.tmp" "$package"
echo "deb: $package, $(stat -c %s "$package") bytes" >&2
