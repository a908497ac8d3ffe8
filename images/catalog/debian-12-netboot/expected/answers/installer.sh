#!/bin/sh
# Runs inside debian-installer for node-01: reports, finds the disk, sets up what preseeding cannot. Nothing here may fail, as
# debian-installer would stop to ask somebody.

# Tells the box how far this is; what it answers, and whether it does, changes nothing here.
rackberry_report() { # STAGE [WHY]
  rackberry_why=$(printf '%s' "${2:-}" | cut -c 1-300 | sed 's/[^A-Za-z0-9._-]/%20/g')
  rackberry_path="http://192.168.77.1/answers/TOKEN/report/$1?why=$rackberry_why"
  if command -v curl >/dev/null 2>&1; then
    curl --silent --max-time 20 --output /dev/null "$rackberry_path" || true
  elif command -v wget >/dev/null 2>&1; then
    wget -q -O /dev/null "$rackberry_path" || true
  else
    # Installers of old have neither; their bash speaks TCP.
    bash -c 'address=${1#http://}; name=${address%%/*}; port=80; case $name in *:*) port=${name##*:}; name=${name%:*} ;; esac
      exec 3<>"/dev/tcp/$name/$port" && printf "GET /%s HTTP/1.0\r\nHost: %s\r\n\r\n" "${address#*/}" "$name" >&3 && cat <&3 >/dev/null' \
      report "$rackberry_path" || true
  fi
}

# Prints the name of the disk that may be erased, and fails where it is not here: it is known by serial number or WWN and by size,
# as names like sda change from one system to the next.
rackberry_disk() {
  rackberry_found=''
  for rackberry_at in /sys/block/*; do
    [ -e "$rackberry_at/device" ] || continue
    rackberry_name=${rackberry_at##*/}
    [ "$(cat "$rackberry_at/size")" = '33554432' ] || continue
    # By the kernel, by SCSI's page of serial numbers, and by udev, which knows of USB too.
    rackberry_known=$(
      cat "$rackberry_at/device/serial" "$rackberry_at/serial" "$rackberry_at/wwid" "$rackberry_at/device/wwid" 2>/dev/null
      dd if="$rackberry_at/device/vpd_pg80" bs=1 skip=4 2>/dev/null | tr -d '\000'
      echo
      udevadm info --query=property --name="/dev/$rackberry_name" 2>/dev/null |
        sed -n 's/^ID_SERIAL_SHORT=//p; s/^ID_SCSI_SERIAL=//p; s/^ID_WWN_WITH_EXTENSION=//p; s/^ID_WWN=//p'
    )
    printf '%s\n' "$rackberry_known" | sed 's/^ *//; s/ *$//; s/^naa\./0x/' |
      grep -qxF 'SN-0001' || continue
    rackberry_found="$rackberry_found $rackberry_name"
  done
  # shellcheck disable=SC2086 # names without blanks
  set -- $rackberry_found
  [ $# -eq 1 ] && printf '%s\n' "$1"
}

# The installer cannot go on; a restart gives the machine back to the box. Nothing was written.
give_up() { # WHY
  rackberry_report failed "$1"
  echo "rackberry: $1. No disk was touched; this machine restarts in a minute." >/dev/console
  sleep 60
  reboot -f
}

early() {
  rackberry_report started
  rackberry_report network
  # debian-installer runs what lies in these folders as it reaches them.
  for step in base-installer.d:base-system pre-pkgsel.d:packages post-base-installer.d:configure; do
    mkdir -p "/usr/lib/${step%:*}"
    printf '#!/bin/sh\nsh /tmp/rackberry report %s\nexit 0\n' "${step#*:}" >"/usr/lib/${step%:*}/02rackberry"
    chmod 0755 "/usr/lib/${step%:*}/02rackberry"
  done
  # After the installer's own network settings were copied into the system, before that is unmounted.
  mkdir -p /usr/lib/finish-install.d
  printf '#!/bin/sh\nsh /tmp/rackberry finish\nexit 0\n' >/usr/lib/finish-install.d/92rackberry
  chmod 0755 /usr/lib/finish-install.d/92rackberry
}

disks() {
  rackberry_report disks
  disk=$(rackberry_disk) || give_up "$(cat <<'END'
the disk that was chosen (/dev/sda, serial number SN-0001, 17179869184 bytes) is not in this machine, or not alone
END
)"
  # A disk in use makes partman ask. What is mounted of it goes, and what else holds it: swap, LVM, RAID, an installer's own medium.
  grep "^/dev/$disk" /proc/mounts | while read -r _ place _; do
    umount "$place" || umount -l "$place"
  done
  for place in /media /hd-media /cdrom; do
    if grep -q " $place " /proc/mounts; then
      umount "$place" || umount -l "$place"
    fi
  done
  grep "^/dev/$disk" /proc/swaps | while read -r device _; do swapoff "$device"; done
  if command -v vgchange >/dev/null 2>&1; then vgchange -an; fi
  if command -v mdadm >/dev/null 2>&1; then mdadm --stop --scan; fi
  debconf-set partman-auto/disk "/dev/$disk"
  debconf-set grub-installer/bootdev "/dev/$disk"
}

# An archive that apt refuses, as one that its server does not have, is an error that waits for somebody to read it. Seen, it waits for
# nobody: apt-setup comments the archive's line out, and late tells. One that cannot be reached keeps its line.
refused() {
  # shellcheck source=/dev/null # debian-installer's own
  (. /usr/share/debconf/confmodule && db_fset apt-setup/service-failed seen true)
}

late() {
  rackberry_report bootloader
  user='admin'
  chroot /target id -u "$user" >/dev/null 2>&1 || chroot /target useradd --create-home --shell /bin/bash "$user"
  if ! chroot /target usermod --append --groups sudo --password '$6$rackberry$c8X2PvLVe4sCiRyEFEdUA0XtkdwaSkgYkOuPcy.oNTJtvLORh5xbBZFOb9.C5ML3PI5H3cNdPHwJ3ImZiADLS/' "$user"; then
    rackberry_report initialisation-failed "the user could not be made; the system itself is installed"
  fi
  lost=$(sed -n 's|^#deb [a-z]*://\([^ ]*\) \([^ ]*\) .*|\1 \2|p' /target/etc/apt/sources.list | sort -u | tr '\n' ' ')
  if [ -n "$lost" ]; then
    rackberry_report no-updates "apt refused $lost- commented out in sources.list, so that no updates come from there until somebody puts that right"
  elif ! grep -q '^deb .*-security ' /target/etc/apt/sources.list; then
    rackberry_report no-updates "sources.list names no archive of security updates, so that none come until somebody adds one"
  fi
  mkdir -p /target/etc/rackberry /target/etc/systemd/system/multi-user.target.wants
  wget -q -O /target/etc/rackberry/first-boot http://192.168.77.1/answers/TOKEN/first-boot.sh && chmod 0700 /target/etc/rackberry/first-boot
  wget -q -O /target/etc/systemd/system/rackberry-first-boot.service http://192.168.77.1/answers/TOKEN/first-boot.service
  ln -sf /etc/systemd/system/rackberry-first-boot.service /target/etc/systemd/system/multi-user.target.wants/rackberry-first-boot.service
  # The person's own commands, in the installed system.
  printf '%s\n' 'echo "it'\''s on" > /run/own
' >/target/etc/rackberry/post
  if ! in-target sh /etc/rackberry/post; then
    rackberry_report initialisation-failed "the commands after the install failed; the system itself is installed"
  fi
  rm -f /target/etc/rackberry/post
}

finish() {
  sync
  rackberry_report installed
}

case $1 in
early) early ;;
disks) disks ;;
late) late ;;
finish) finish ;;
report)
  rackberry_report "$2"
  [ "$2" != configure ] || refused
  ;;
esac
exit 0
