#!/bin/bash
# Written by Rackberry for node-01; runs once, reports that the system is up, and removes itself.
set -u
user='admin'
keys='ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIGrackberryrackberryrackberryrackberryrack admin@laptop'

if ! id -u "$user" >/dev/null 2>&1; then
  useradd --create-home --shell /bin/bash "$user"
fi
for group in sudo wheel; do
  if getent group "$group" >/dev/null; then
    usermod --append --groups "$group" "$user"
  fi
done
if [ -n "$keys" ]; then
  home=$(getent passwd "$user" | cut -d: -f6)
  install -d -m 0700 -o "$user" -g "$user" "$home/.ssh"
  printf '%s\n' "$keys" >"$home/.ssh/authorized_keys"
  chown "$user:" "$home/.ssh/authorized_keys"
  chmod 0600 "$home/.ssh/authorized_keys"
  if command -v restorecon >/dev/null; then
    restorecon -R "$home/.ssh"
  fi
fi
printf '%s\n' 'echo "it'\''s on" > /run/own
' >/etc/rackberry/own-script
chmod 0700 /etc/rackberry/own-script
/etc/rackberry/own-script
rm -f /etc/rackberry/own-script

url='http://192.168.77.1/agent/v1/report'
body='{"token":"TOKEN","news":"first_boot","hostname":"node-01"}'
post() {
  if command -v curl >/dev/null; then
    curl --silent --fail --max-time 20 --header 'Content-Type: application/json' --data "$body" "$url" >/dev/null
  elif command -v wget >/dev/null; then
    wget --quiet --timeout=20 --tries=1 --header='Content-Type: application/json' --post-data="$body" -O /dev/null "$url"
  else
    echo "rackberry: neither curl nor wget is here, so nobody learns that this system is up" >&2
    return 0
  fi
}
# What was set up here outlives a power cut right after the report.
sync
# The box may be busy or restarting: it is asked until it answers, for an hour.
for _ in $(seq 720); do
  if post; then
    rm -f /etc/rackberry/first-boot
    exit 0
  fi
  sleep 5
done
exit 1
