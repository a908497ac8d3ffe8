#!/bin/sh
# Builds rackberry-agent as one static program for the RAM OS of --arch, at --out.
#
# No C compiler for the target is needed: all of it is Rust. With rustup's musl target the linker is the one that Rust
# itself brings (rust-lld); without, a static glibc program comes out, for the architecture of this machine only.
set -eu

usage() {
    echo "usage: build.sh --arch x86_64|aarch64 --out FILE" >&2
    exit 2
}

arch='' out=''
while [ $# -gt 0 ]; do
    [ $# -ge 2 ] || usage
    case $1 in
    --arch) arch=$2 ;;
    --out) out=$2 ;;
    *) usage ;;
    esac
    shift 2
done
case $arch in
x86_64 | aarch64) ;;
*) usage ;;
esac
[ -n "$out" ] || usage
case $out in
/*) ;;
*) out=$PWD/$out ;;
esac

cd "$(dirname "$0")"
CARGO_TARGET_DIR=${CARGO_TARGET_DIR:-$PWD/../../target}
export CARGO_TARGET_DIR

musl=$arch-unknown-linux-musl
gnu=$arch-unknown-linux-gnu
host=$(rustc -vV | sed -n 's/^host: //p')
rustlib=$(rustc --print sysroot)/lib/rustlib
# Rust as distributions package it may leave its linker out; LLVM's own is the same program.
linker=rust-lld
[ -x "$rustlib/$host/bin/rust-lld" ] || ! command -v ld.lld >/dev/null || linker=ld.lld
if [ -d "$rustlib/$musl/lib" ]; then
    target=$musl
    echo "rackberry-agent: for $musl, linked by $linker" >&2
    upper=$(echo "$musl" | tr 'a-z-' 'A-Z_')
    export "CARGO_TARGET_${upper}_LINKER=$linker"
    # The linker is called directly, so that the C library and its start files have to come from Rust as well.
    export "CARGO_TARGET_${upper}_RUSTFLAGS=-C linker-flavor=ld.lld -C link-self-contained=yes -C target-feature=+crt-static"
elif [ "$host" = "$gnu" ]; then
    target=$gnu
    echo "rackberry-agent: for $gnu with a static glibc, as rustc has no target $musl here" >&2
    RUSTFLAGS="-C target-feature=+crt-static -C relocation-model=static"
    export RUSTFLAGS
else
    echo "rackberry-agent: rustc has no target $musl here; 'rustup target add $musl' brings it" >&2
    exit 1
fi

# Unpacking is most of what it does: speed counts more than size.
CARGO_PROFILE_RELEASE_OPT_LEVEL=3 cargo build --locked --release -p rackberry-agent --target "$target"

mkdir -p "$(dirname "$out")"
cp "$CARGO_TARGET_DIR/$target/release/rackberry-agent" "$out.tmp"
mv "$out.tmp" "$out"
