#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
# granary-test: timeout=400 engines=one asan=never
"""LVM in a user-mode-linux guest, with granaryd inside: who uses what is told and refused, a
logical volume is a LUN with the identity of an old target to the guest's own kernel, grows under
it, and can not be taken away meanwhile."""

import os
import re
import shutil
import subprocess
import sys
import tempfile

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "guest"))
# pylint: disable=wrong-import-position
import uml
from server import BUILD
from tap import Skip, run

GUEST_LIMIT = 500
IQN = "iqn.2026-11.org.granary:lvm"

SCRIPT = r"""
export LD_LIBRARY_PATH=$SHARE/bin PATH=$SHARE/bin:$PATH
export LVM_SUPPRESS_FD_WARNINGS=1
modprobe -a loop dm_mod
truncate -s 96M /tmp/pv; truncate -s 96M /tmp/blank
PV=$(losetup --show -f /tmp/pv) BLANK=$(losetup --show -f /tmp/blank) || exit 1
l() { lvm "$@" --config 'activation{udev_sync=0 udev_rules=0 monitoring=0} devices{use_devicesfile=0} global{use_lvmpolld=0}'; }
{ l pvcreate -q "$PV" && l vgcreate -q vg "$PV" && l lvcreate -qqy -Zn -L 32M -n db vg && l lvcreate -qqy -Zn -L 16M -n root vg; } >/tmp/lvm 2>&1 && yes "two logical volumes" || { no "two logical volumes"; cat /tmp/lvm; exit 1; }
DB=/dev/mapper/vg-db; ROOT=/dev/mapper/vg-root
[ -b $DB ] || { no "$DB is there"; ls /dev/mapper; exit 1; }
granaryd --state /tmp/state --bind 127.0.0.1 --nfs-port 0 > /tmp/log 2>&1 & daemon=$!
for i in $(seq 600); do grep -q READY /tmp/log && break; sleep 0.1; done
grep -q READY /tmp/log || { no "granaryd is ready"; cat /tmp/log; exit 1; }
g() { granary --state /tmp/state "$@"; }
row() { g disk list -o json > /tmp/disks; sed -n "/\"path\": \"$(echo "$1" | sed 's,/,\\/,g')\"/,/}/p" /tmp/disks; }
has() { row "$1" | grep -q "\"$2\": \"$3\""; }
refused() { local text=$1 words=$2; shift 2; g "$@" >/tmp/out 2>&1 && no "$text" || { grep -q "$words" /tmp/out && yes "$text" || { no "$text"; cat /tmp/out; }; }; }

has "$PV" carries "an LVM physical volume" && has "$PV" used_by "part of lvm device vg-.*" && yes "a physical volume says what it is and who uses it" || { no "a physical volume says what it is and who uses it"; row "$PV"; }
has $DB kind lvm && yes "a logical volume is one" || { no "a logical volume is one"; row $DB; }
row "$BLANK" | grep -q '"free": true' && yes "a blank disk is free" || { no "a blank disk is free"; row "$BLANK"; }
refused "a pool does not take a physical volume in use" "part of lvm device" pool create no "$PV" --force
mkfs.ext4 -qF $ROOT && mount -t ext4 $ROOT /mnt
refused "nor a mounted logical volume" "mounted on /mnt" pool create no $ROOT --force
refused "nor becomes that one a LUN" "mounted on /mnt" volume create passthrough/root --device $ROOT
umount /mnt
refused "unmounted it says what is on it" "an ext4 file system" pool create no $ROOT

check "a logical volume becomes a volume" g volume create passthrough/db --device $DB --naa 6001405aa00000000000000000000001 --serial OLD-7 --vendor LIO-ORG --product IBLOCK --t10 old-datastore-7 || exit 1
l lvremove -qqy vg/db >/tmp/lvm 2>&1; grep -q "in use" /tmp/lvm && yes "LVM can not remove it meanwhile" || { no "LVM can not remove it meanwhile"; cat /tmp/lvm; }
g target create @IQN@ && g target allow @IQN@ --network 127.0.0.0/8 && g lun map @IQN@ passthrough/db >/dev/null || exit 1
iscsid
check "discovery" sh -c "iscsiadm -m discovery -t st -p 127.0.0.1 | grep -F @IQN@" || exit 1
check "login" iscsiadm -m node -T @IQN@ -p 127.0.0.1 --login || exit 1
D=$(disk) || exit 1
S=/sys/block/${D##*/}/device
[ "$(cat $S/vendor | tr -d ' ')" = LIO-ORG ] && [ "$(cat $S/model | tr -d ' ')" = IBLOCK ] && [ "$(cat $S/wwid)" = naa.6001405aa00000000000000000000001 ] && yes "the kernel knows it by its old names ($(cat $S/wwid))" || { no "the kernel knows it by its old names"; cat $S/vendor $S/model $S/wwid; }
sg_vpd -p di "$D" | grep -q old-datastore-7 && yes "the T10 name is the old one" || { no "the T10 name is the old one"; sg_vpd -p di "$D"; }
sg_vpd -p sn "$D" | grep -q OLD-7 && yes "and the serial number" || no "and the serial number"
head -c 1M /dev/urandom > /tmp/data
dd if=/tmp/data of="$D" bs=64k seek=16 oflag=direct conv=fsync status=none
[ "$(dd if=$DB bs=64k skip=16 count=16 iflag=direct status=none | sha256sum)" = "$(sha256sum < /tmp/data)" ] && yes "what the initiator wrote is in the logical volume" || no "what the initiator wrote is in the logical volume"
before=$(cat "/sys/block/${D##*/}/size")
l lvextend -qq -L 48M vg/db >/tmp/lvm 2>&1 || cat /tmp/lvm
check "rescan after lvextend" g volume rescan passthrough/db
echo 1 > "$S/rescan"; for i in $(seq 300); do [ "$(cat "/sys/block/${D##*/}/size")" = 98304 ] && break; sleep 0.1; done
[ "$before" = 65536 ] && [ "$(cat "/sys/block/${D##*/}/size")" = 98304 ] && yes "the disk has grown" || no "the disk has grown ($before, $(cat "/sys/block/${D##*/}/size"))"
iscsiadm -m node -T @IQN@ --logout >/dev/null
kill -TERM $daemon; wait $daemon; [ $? = 0 ] && yes "clean stop" || { no "clean stop"; tail -n 5 /tmp/log; }
l lvchange -an vg/db >/dev/null 2>&1 && yes "then LVM has it back" || no "then LVM has it back"
exit 0
"""


def programs(folder):
    """The daemon, its command and LVM's, with their libraries, for a guest of the same system."""
    os.makedirs(folder)
    lvm = shutil.which("lvm") or shutil.which("lvm", path="/sbin:/usr/sbin")
    if not lvm:
        raise Skip("no lvm")
    for program in (os.path.join(BUILD, "granaryd"), os.path.join(BUILD, "granary"), lvm):
        shutil.copy(program, folder)
        libraries = subprocess.run(["ldd", program], capture_output=True, text=True,
                                   check=True).stdout
        for path in re.findall(r"=> (/\S+)", libraries):
            # The guest has a C library of its own, which fits its loader.
            if not re.match(r"(libc|libm|libpthread|ld-linux)[.-]", os.path.basename(path)):
                shutil.copy(path, folder)


def test(tap):
    uml.needs()
    uml.enter()
    folder = tempfile.mkdtemp(prefix="granary-lvm-")
    try:
        programs(os.path.join(folder, "bin"))
        guests = uml.Guests(os.path.join(folder, "guest"), [SCRIPT.replace("@IQN@", IQN)],
                            prepare=lambda share: shutil.move(os.path.join(folder, "bin"), share))
        try:
            in_time = guests.wait(GUEST_LIMIT)
            uml.tell(tap, guests, 1, "guest")
            tap.point(in_time, "through in time")
        finally:
            guests.stop()
    finally:
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    run(test)
