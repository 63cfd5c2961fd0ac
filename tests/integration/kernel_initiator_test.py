#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
# granary-test: timeout=900 engines=one asan=never
"""The Linux kernel's own initiator, open-iscsi in user-mode-linux: discovery, CHAP one-way and
mutual, digests, ext4 and xfs that survive a logout, discard that gives the pool its space back,
and two initiators that see each other's writes on one LUN.

With GRANARY_TEST_TGT=1 it runs against Debian's tgt, to tell our faults from the test's."""

import os
import shutil
import subprocess
import sys
import tempfile
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "guest"))
# pylint: disable=wrong-import-position
import uml
from server import Server
from tap import run

TARGET = "iqn.2026-11.org.granary:kernel"
CHAP_USER, CHAP_SECRET = "alice", "one-secret-of-alice"
MUTUAL_USER, MUTUAL_SECRET = "granary", "another-secret-of-ours"
GUEST_LIMIT = 900
FREED = 30000000  # bytes that a discard of the file systems gives back at least

ONE = r"""
set_key() { iscsiadm -m node -T "$target" -p "$SERVER" -o update -n "$1" -v "$2" >/dev/null; }
login() { iscsiadm -m node -T "$target" -p "$SERVER" --login 2>&1; }
logout() { iscsiadm -m node -T "$target" -p "$SERVER" --logout >/dev/null 2>&1; }
iscsid
target=@TARGET@
check "discovery lists the target" sh -c "iscsiadm -m discovery -t st -p $SERVER | grep -F $target" || exit 1

set_key node.session.initial_login_retry_max 1
login >/dev/null && { no "a login without CHAP is refused"; logout; } || yes "a login without CHAP is refused"
set_key node.session.auth.authmethod CHAP
set_key node.session.auth.username @USER@
set_key node.session.auth.password wrong-secret-here
login >/dev/null && { no "a wrong secret is refused"; logout; } || yes "a wrong secret is refused"
set_key node.session.auth.password @SECRET@
check "CHAP login" login || exit 1
D=$(disk) || { no "the LUN becomes a disk"; exit 1; }
yes "the LUN becomes a disk ($D, $(($(cat /sys/block/${D##*/}/size) / 2048)) MiB)"
logout
set_key node.session.auth.username_in @MUTUAL_USER@
set_key node.session.auth.password_in not-the-right-answer
login >/dev/null && { no "a target with a wrong answer is refused"; logout; } || yes "a target with a wrong answer is refused"
set_key node.session.auth.password_in @MUTUAL_SECRET@
check "mutual CHAP login" login || exit 1
logout

dmesg -C # the refused logins above are in it
set_key 'node.conn[0].iscsi.HeaderDigest' CRC32C
set_key 'node.conn[0].iscsi.DataDigest' CRC32C
check "login with digests" login || { dmesg | tail -n 8; iscsiadm -m node -T "$target" | grep -i digest; exit 1; }
D=$(disk) || exit 1
grep -qx 1 /sys/class/iscsi_connection/*/header_digest && grep -qx 1 /sys/class/iscsi_connection/*/data_digest && yes "both digests are in use" || no "both digests are in use"

file_system() {
	local kind=$1 sum again
	D=$(disk)
	case $kind in ext4) mkfs.ext4 -qF "$D" ;; xfs) mkfs.xfs -qf "$D" ;; esac || return 1
	mount -t "$kind" "$D" /mnt || return 1
	mkdir /mnt/d; cp -r /usr/share/perl5 /mnt/d 2>/dev/null
	head -c 48M /dev/urandom > /mnt/d/big; sync
	sum=$(find /mnt/d -type f -exec sha256sum {} + | sort | sha256sum)
	umount /mnt && logout && login && D=$(disk) || return 2
	mount -t "$kind" "$D" /mnt || return 3
	again=$(find /mnt/d -type f -exec sha256sum {} + | sort | sha256sum)
	[ "$sum" = "$again" ] || { echo "sums differ: $sum $again"; return 4; }
	umount /mnt
}
check "ext4: made, written, read back alike after logout and login" file_system ext4
check "e2fsck -fn finds nothing" e2fsck -fn "$D"
check "xfs: made, written, read back alike after logout and login" file_system xfs
check "xfs_repair -n finds nothing" xfs_repair -n "$D"

before=$(ask used)
check "blkdiscard" blkdiscard -f "$D"
after=$(ask settled)
echo "# pool used: $before bytes, after blkdiscard $after"
[ "$after" -lt "$((before - @FREED@))" ] && yes "blkdiscard gives space back to the pool" || no "blkdiscard gives space back to the pool"
cmp -n 67108864 "$D" /dev/zero && yes "discarded blocks read as zeros" || no "discarded blocks read as zeros"
check "write zeroes through" sh -c "head -c 1M /dev/urandom | dd of=$D bs=64k oflag=direct iflag=fullblock status=none && blkdiscard -fz -l 1048576 $D && cmp -n 1048576 $D /dev/zero"
disks() { ls -d /sys/block/sd* | wc -l; }
have=$(disks)
if [ "$(ask map)" != none ]; then
	for i in $(seq 300); do [ "$(disks)" -gt "$have" ] && break; sleep 0.2; done
	[ "$(disks)" -gt "$have" ] && yes "a LUN that is mapped is found without a rescan, by asynchronous message" || no "a LUN that is mapped is found without a rescan, by asynchronous message"
	ask unmap >/dev/null
fi
check "logout" logout
for i in $(seq 300); do [ -b "$D" ] || break; sleep 0.1; done
[ -b "$D" ] && no "the disk goes with the session" || yes "the disk goes with the session"
dmesg | grep -iE 'I/O error|digest|conn error|Sense Key' | tail -n 5 | sed 's/^/# kernel: /'
dmesg | grep -qiE 'I/O error|digest error|detected conn error' && no "no error in the kernel log" || yes "no error in the kernel log"
exit 0
"""

TWO = r"""
iscsid
target=@TARGET@
iscsiadm -m discovery -t st -p "$SERVER" >/dev/null || exit 1
for key in authmethod:CHAP username:@USER@ password:@SECRET@; do
	iscsiadm -m node -T "$target" -p "$SERVER" -o update -n "node.session.auth.${key%%:*}" -v "${key#*:}"
done
check "login" iscsiadm -m node -T "$target" -p "$SERVER" --login || exit 1
D=$(disk) || exit 1
meet up || exit 1
other=$((3 - GUEST)) wrong=0
# The guests take turns; each time one writes 64 KiB somewhere new and the other reads it at once.
for round in $(seq 20); do
	at=$((round * 17))
	if [ $((round % 2)) = $((GUEST % 2)) ]; then
		head -c 64k /dev/urandom > /tmp/block
		dd if=/tmp/block of="$D" bs=64k seek=$at oflag=direct status=none || wrong=1
		sha256sum < /tmp/block > "$SHARE/sum.$round"
	fi
	meet "written$round" || exit 1
	[ "$(dd if="$D" bs=64k skip=$at count=1 iflag=direct status=none | sha256sum)" = "$(cat "$SHARE/sum.$round")" ] || { wrong=1; echo "# round $round differs"; }
	meet "read$round" || exit 1
done
[ $wrong = 0 ] && yes "20 writes, each seen at once by both initiators" || no "20 writes, each seen at once by both initiators"
# Both write at the same time, half the sectors of each slot: neither loses the other's.
for i in $(seq 50); do printf "%512s" "$GUEST-$i" | dd of="$D" bs=512 seek=$((4096 + i * 8 + GUEST)) oflag=direct status=none || wrong=1; done
meet both || exit 1
for g in 1 2; do for i in $(seq 50); do
	[ "$(dd if="$D" bs=512 skip=$((4096 + i * 8 + g)) count=1 iflag=direct status=none)" = "$(printf "%512s" "$g-$i")" ] || wrong=2
done; done
[ $wrong = 0 ] && yes "sectors of one 4 KiB slot written by both keep both" || no "sectors of one 4 KiB slot written by both keep both ($wrong)"
meet end
check "logout" iscsiadm -m node --logoutall=all
exit 0
"""


def fill(script, target):
    for key, value in (("@TARGET@", target), ("@USER@", CHAP_USER), ("@SECRET@", CHAP_SECRET),
                       ("@MUTUAL_USER@", MUTUAL_USER), ("@MUTUAL_SECRET@", MUTUAL_SECRET),
                       ("@FREED@", str(FREED))):
        script = script.replace(key, value)
    return script


class Granary:
    """The daemon with a target of its own for the kernel: CHAP, one 1 GiB volume."""

    def __init__(self, folder):
        self.server = Server(os.path.join(folder, "state"), uml.SERVER, 3260)
        secret, mutual = os.path.join(folder, "secret"), os.path.join(folder, "mutual")
        for path, text in ((secret, CHAP_SECRET), (mutual, MUTUAL_SECRET)):
            with open(path, "w", encoding="utf-8", opener=lambda p, f: os.open(p, f, 0o600)) as file:
                file.write(text)
        run_cli = self.server.granary
        run_cli("volume", "create", "tank/kernel", "1G")
        run_cli("target", "create", TARGET)
        run_cli("lun", "map", TARGET, "tank/kernel")
        run_cli("target", "allow", TARGET, "--initiator", "any", "--network", "10.77.0.0/24",
                "--chap-user", CHAP_USER, "--chap-secret-file", secret,
                "--mutual-user", MUTUAL_USER, "--mutual-secret-file", mutual)

    def used(self):
        return next(pool for pool in self.server.status()["pools"]
                    if pool["name"] == "tank")["used_bytes"]

    def second(self, words):
        """A LUN that comes and goes while the guest is logged in."""
        if words == ["map"]:
            self.server.granary("target", "set", TARGET, "--async-events", "on")
            self.server.granary("volume", "create", "tank/second", "64M")
            self.server.granary("lun", "map", TARGET, "tank/second")
        else:
            self.server.granary("target", "set", TARGET, "--async-events", "off")
            self.server.granary("lun", "unmap", TARGET, "1")
        return "done"

    def stop(self):
        return self.server.stop()


class Tgt:
    """Debian's target in the same part."""

    def __init__(self, folder):
        self.image = os.path.join(folder, "lun")
        with open(self.image, "wb") as file:
            file.truncate(1 << 30)
        self.process = subprocess.Popen(["tgtd", "-f", "--iscsi", f"portal={uml.SERVER}:3260"],
                                        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        time.sleep(1)

        def admin(*words):
            subprocess.run(["tgtadm", "--lld", "iscsi", *words], check=True)
        admin("--op", "new", "--mode", "target", "--tid", "1", "-T", TARGET)
        admin("--op", "new", "--mode", "logicalunit", "--tid", "1", "--lun", "1", "-b", self.image)
        admin("--op", "update", "--mode", "logicalunit", "--tid", "1", "--lun", "1", "--params",
              "thin_provisioning=1")
        for key in ("HeaderDigest", "DataDigest"):
            admin("--op", "update", "--mode", "target", "--tid", "1", "--name", key, "--value",
                  "CRC32C")
        admin("--op", "bind", "--mode", "target", "--tid", "1", "-I", "ALL")
        for user, secret in ((CHAP_USER, CHAP_SECRET), (MUTUAL_USER, MUTUAL_SECRET)):
            admin("--op", "new", "--mode", "account", "--user", user, "--password", secret)
        admin("--op", "bind", "--mode", "account", "--tid", "1", "--user", CHAP_USER)
        admin("--op", "bind", "--mode", "account", "--tid", "1", "--user", MUTUAL_USER,
              "--outgoing")

    def used(self):
        return os.stat(self.image).st_blocks * 512

    def second(self, _):
        return "none"

    def stop(self):
        self.process.kill()
        self.process.wait()
        return 0


def answer_for(side):
    """What a guest may ask the host: pool space now, or once it has come back; a LUN more."""
    last = []

    def answer(words):
        if words in (["map"], ["unmap"]):
            return side.second(words)
        now = side.used()
        limit = time.monotonic() + 60
        while words == ["settled"] and now >= last[0] - FREED and time.monotonic() < limit:
            time.sleep(0.25)
            now = side.used()
        last[:] = [now]
        return now
    return answer


def guests_run(tap, side, folder, scripts, labels):
    guests = uml.Guests(folder, scripts)
    try:
        in_time = guests.wait(GUEST_LIMIT, answer_for(side))
        for number, label in enumerate(labels, 1):
            uml.tell(tap, guests, number, label)
        tap.point(in_time, f"{' and '.join(labels)}: through in time")
    finally:
        guests.stop()


def test(tap):
    uml.needs()
    uml.enter()
    folder = tempfile.mkdtemp(prefix="granary-kernel-")
    side = None
    try:
        side = (Tgt if os.environ.get("GRANARY_TEST_TGT") else Granary)(folder)
        guests_run(tap, side, os.path.join(folder, "one"), [fill(ONE, TARGET)], ["kernel"])
        two = fill(TWO, TARGET)
        guests_run(tap, side, os.path.join(folder, "two"), [two, two], ["first", "second"])
        tap.point(side.stop() == 0, "the daemon stops cleanly")
    finally:
        if side:
            side.stop()
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    run(test)
