#!/bin/sh
# Runs inside Ubuntu's installer for node-01: reports, names the disk, sets up what the answers cannot.

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

early() {
  rackberry_report started
  rackberry_report network
  if ! disk=$(rackberry_disk); then
    rackberry_report failed "$(cat <<'END'
the disk that was chosen (/dev/sda, serial number SN-0001, 17179869184 bytes) is not in this machine, or not alone
END
)"
    # Anything but 0 ends the install before a disk is touched.
    return 1
  fi
  # The installer reads its answers again after these commands.
  sed -i "s|RACKBERRY_DISK|/dev/$disk|" /autoinstall.yaml
  rackberry_report disks
}

late() {
  rackberry_report configure
  mkdir -p /target/etc/rackberry /target/etc/systemd/system/multi-user.target.wants
  wget -q -O /target/etc/rackberry/first-boot http://192.168.77.1/answers/TOKEN/first-boot.sh && chmod 0700 /target/etc/rackberry/first-boot
  wget -q -O /target/etc/systemd/system/rackberry-first-boot.service http://192.168.77.1/answers/TOKEN/first-boot.service
  ln -sf /etc/systemd/system/rackberry-first-boot.service /target/etc/systemd/system/multi-user.target.wants/rackberry-first-boot.service
  # By MAC address: the installer's own settings name a port that may be called otherwise tomorrow.
  rm -f /target/etc/netplan/*.yaml
  cat >/target/etc/netplan/50-rackberry.yaml <<'END'
# Written by Rackberry.
network:
  version: 2
  ethernets:
    lan0:
      match:
        macaddress: "52:54:00:77:00:01"
    lan1:
      match:
        macaddress: "52:54:00:77:00:02"
  bonds:
    bond0:
      interfaces: [lan0, lan1]
      parameters:
        mode: "802.3ad"
        mii-monitor-interval: 100
  vlans:
    bond0.100:
      id: 100
      link: bond0
      addresses:
        - "192.168.77.20/24"
      routes:
        - to: "0.0.0.0/0"
          via: "192.168.77.1"
      nameservers:
        addresses: [192.168.77.1, 9.9.9.9]
        search: ["rack.example"]
END
  chmod 0600 /target/etc/netplan/50-rackberry.yaml
  mkdir -p /target/etc/cloud/cloud.cfg.d
  echo 'network: {config: disabled}' >/target/etc/cloud/cloud.cfg.d/99-rackberry-network.cfg
  printf '%s\n' 'echo "it'\''s on" > /run/own
' >/target/etc/rackberry/post
  if ! curtin in-target --target=/target -- sh /etc/rackberry/post; then
    rackberry_report initialisation-failed "the commands after the install failed; the system itself is installed"
  fi
  rm -f /target/etc/rackberry/post
  sync
  rackberry_report installed
}

case $1 in
early) early ;;
late) late ;;
failed) rackberry_report failed "the installer stopped with an error; /var/log/installer on this machine says which" ;;
esac
