#!/bin/sh
# Buildroot runs this on the finished root, before it is packed:  post-build.sh TARGET_DIR
set -eu
root=${1:?usage: post-build.sh TARGET_DIR}
: "${BASE_DIR:?Buildroot names its output folder}"

# The overlay has its own start; what packages brought would start a second time, or without being asked.
rm -f "$root"/etc/init.d/S[0-9]* "$root/etc/network/interfaces"
# The modules go with the kernel, into the initramfs: the slots take any kernel's (/run/modules).
if [ -d "$root/usr/lib/modules" ] && [ ! -L "$root/usr/lib/modules" ]; then
    rm -rf "$BASE_DIR/rackberry-modules"
    mv "$root/usr/lib/modules" "$BASE_DIR/rackberry-modules"
fi
ln -sfn /run/modules "$root/usr/lib/modules"
# What is mounted later needs a place, and what stands on the card comes from there.
mkdir -p "$root/boot" "$root/srv" "$root/var" "$root/etc/rackberry"
printf '%s\n' "${SOURCE_DATE_EPOCH:-$(date +%s)}" >"$root/etc/rackberry/built"
# The minisign key that updates have to be signed with; without one there are none.
[ -z "${RACKBERRY_UPDATE_KEY:-}" ] || install -m 644 "$RACKBERRY_UPDATE_KEY" "$root/etc/rackberry/update.pub"
chmod 600 "$root/etc/shadow"
