#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
# granary-test: timeout=400 engines=one asan=never waits
"""sg3_utils through the Linux kernel: every VPD, mode and log page, what is supported and what is
refused, each command that reads, writes, compares, unmaps and copies, with the data read back;
resets; a LUN that is added, resized and taken away under the kernel; a CD-ROM as /dev/sr0."""

import json
import os
import shutil
import sys
import tempfile

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "guest"))
# pylint: disable=wrong-import-position
import uml
from server import Server
from tap import run

TARGET = "iqn.2026-11.org.granary:sweep"
GUEST_LIMIT = 700
CD_BLOCKS = 64

SCRIPT = r"""
target=@TARGET@
iscsid
modprobe -a sr_mod
check "discovery" sh -c "iscsiadm -m discovery -t st -p $SERVER | grep -F $target" || exit 1
check "login" iscsiadm -m node -T $target -p $SERVER --login || exit 1
# the disk that is LUN N of the session
lun() { local i d; for i in $(seq 600); do for d in /sys/class/scsi_device/*:$1/device/block/*; do [ -b "/dev/${d##*/}" ] && [ "$(cat $d/size)" -gt 0 ] && { echo "/dev/${d##*/}"; return; }; done; sleep 0.1; done; return 1; }
A=$(lun 0) && B=$(lun 1) && yes "two disks ($A $B)" || { no "two disks"; ls /sys/class/scsi_device; exit 1; }
# Few processes: each costs a user-mode kernel a third of a second.
shopt -s nocasematch
say() { # text, what has to be in the output, command
	local text=$1 words=$2 out status; shift 2
	out=$("$@" 2>&1); status=$?
	if [ $status = 0 ] && [[ $out =~ $words ]]; then yes "$text"; else no "$text"; echo "# status $status, wanted: $words"; echo "$out" | tail -n 25 | sed 's/^/# /'; fi; }
refused() { # text, exit status of sg3_utils, command
	local text=$1 wanted=$2 out status; shift 2
	out=$("$@" 2>&1); status=$?
	[ $status = $wanted ] && yes "$text" || { no "$text (status $status)"; echo "$out" | tail -n 12 | sed 's/^/# /'; }; }
same() { # device, block, file named BLOCKS.WHAT: are they alike on the medium?
	local count=${3##*/}
	dd if=$1 bs=512 skip=$2 count=${count%%.*} iflag=direct status=none | cmp -s - $3; }
pattern() { head -c $(($2 * 512)) /dev/zero | tr '\0' "$1" > /tmp/$2.$1; }

# what it is
say "sg_inq" "Vendor identification: GRANARY" sg_inq $A
say "it claims SPC-4, SBC-3 and iSCSI" "SBC-3" sg_inq -d $A
say "sg_luns" "Lun list length = 24 " sg_luns $A
sg_vpd -p 0 --raw $A | od -An -v -tx1 | tr -s ' ' '\n' | sed -n '/./p' | tail -n +5 | sed 's/^/0x/' > /tmp/pages; pages=$(tr '\n' ' ' < /tmp/pages)
for page in 0x00 0x80 0x83 0x86 0x8f 0xb0 0xb1 0xb2; do
	[[ " $pages " == *" $page "* ]] && yes "VPD page $page is listed" || no "VPD page $page is listed ($pages)"
done
for page in $pages; do
	say "sg_vpd -p $page" . sg_vpd -p $page $A
done
say "VPD B0: COMPARE AND WRITE" "Maximum compare and write length: 255 blocks" sg_vpd -p bl $A
say "VPD B2: UNMAP and WRITE SAME(16)" "Unmap command supported .LBPU.: 1" sg_vpd -p lbpv $A
say "VPD 83: an NAA name" "designator type: NAA" sg_vpd -p di $A
say "VPD 8F: copies" "." sg_vpd -p tpc $A
say "sg_readcap -l" "lbpme=1, lbprz=1" sg_readcap -l $A
say "sg_opcodes lists COMPARE AND WRITE" "89 .*Compare and write" sg_opcodes $A
say "with timeouts" "89 " sg_opcodes -R $A
say "one operation code" "Opcode=0x28" sg_opcodes --opcode=0x28 $A
say "one service action" "sa=0x10|service action: 10|READ CAPACITY" sg_opcodes --opcode=0x9e,0x10 $A
say "task management functions" "Logical unit reset" sg_opcodes --tmf $A
say "sg_modes, all pages" "Caching" sg_modes -a $A
say "what may be changed" "Caching" sg_modes -p 8 -c 1 $A
say "saved values" "Caching" sg_modes -p 8 -c 3 $A
sg_logs -l $A 2>/tmp/err | grep -oE '^ +0x[0-9a-f]{2}' | tr -d ' ' | sort -u > /tmp/logs
[ "$(tr '\n' ' ' < /tmp/logs)" = "0x00 0x02 0x03 0x0c 0x0d 0x19 0x2f " ] && yes "the log pages" || no "the log pages ($(tr '\n' ' ' < /tmp/logs))"
for page in $(cat /tmp/logs); do say "sg_logs -p $page" . sg_logs -p $page $A; done
say "sg_rtpg" "target port group id : 0x1" sg_rtpg -d $A
check "sg_turs" sg_turs $A
check "sg_requests" sg_requests $A
check "sg_start" sg_start --start $A
check "sg_sync" sg_sync $A

# data
for file in "A 16" "B 16" "C 1" "A 1" "B 1" "B 8" "C 32"; do pattern $file; done; head -c 4096 /dev/zero > /tmp/8.zero
dd if=/tmp/16.A of=$A bs=512 seek=64 oflag=direct status=none && same $A 64 /tmp/16.A && yes "a write is read back" || no "a write is read back"
cat /tmp/1.A /tmp/1.B > /tmp/2.AB
check "sg_compare_and_write that matches" sg_compare_and_write --in=/tmp/2.AB --lba=64 --num=1 $A
same $A 64 /tmp/1.B && yes "has written" || no "has written"
refused "one that does not is a MISCOMPARE" 14 sg_compare_and_write --quiet --in=/tmp/2.AB --lba=64 --num=1 $A
same $A 64 /tmp/1.B && same $A 65 /tmp/1.A && yes "and has written nothing" || no "and has written nothing"
check "sg_write_same -10" sg_write_same --10 --in=/tmp/1.C --lba=128 --num=32 $A
same $A 128 /tmp/32.C && yes "32 blocks alike" || no "32 blocks alike"
check "sg_write_same -16" sg_write_same --16 --in=/tmp/1.B --lba=136 --num=8 $A
same $A 136 /tmp/8.B && yes "8 of them others" || no "8 of them others"
check "sg_write_same, NDOB and UNMAP" sg_write_same --16 --ndob --unmap --lba=144 --num=8 $A
same $A 144 /tmp/8.zero && yes "zeros" || no "zeros"
status_of() { sg_get_lba_status -bb --lba=$1 $A 2>/dev/null | tr -d ' \n'; }
[ "$(status_of 136)" = 0 ] && [ "$(status_of 144)" = 1 ] && yes "sg_get_lba_status: mapped, deallocated" || no "sg_get_lba_status ($(status_of 136) $(status_of 144))"
check "sg_unmap" sg_unmap --lba=128 --num=8 --force $A
[ "$(status_of 128)" = 1 ] && same $A 128 /tmp/8.zero && yes "is unmapped and reads as zeros" || no "is unmapped and reads as zeros ($(status_of 128))"
check "sg_verify" sg_verify --lba=0 --count=64 $A
check "sg_verify, bytes compared" sg_verify --lba=136 --count=8 --ndo=4096 --in=/tmp/8.B $A
refused "and others found" 14 sg_verify --quiet --lba=136 --count=8 --ndo=4096 --in=/tmp/16.A $A
check "sg_write_verify" sg_write_verify --lba=160 --num=16 --in=/tmp/16.A $A
same $A 160 /tmp/16.A && yes "has written" || no "has written"
check "sg_write_x, WRITE ATOMIC" sg_write_x --atomic=0 --in=/tmp/16.B --lba=160 --num=16 $A
same $A 160 /tmp/16.B && yes "has written" || no "has written"
printf '\1' | cat - /dev/zero | head -c 512 > /tmp/1.one; printf '\2' | cat - /dev/zero | head -c 512 > /tmp/1.two; printf '\3' | cat - /dev/zero | head -c 512 > /tmp/1.three
dd if=/tmp/1.one of=$A bs=512 seek=200 oflag=direct status=none; check "sg_write_x, ORWRITE" sg_write_x --or --in=/tmp/1.two --lba=200 --num=1 $A
same $A 200 /tmp/1.three && yes "has put both together" || no "has put both together"
check "sg_read" sg_read if=$A bs=512 count=128
check "sg_dd with FUA" sg_dd if=$A of=/tmp/dd bs=512 skip=160 count=16 iflag=fua blk_sgio=1
cmp -s /tmp/dd /tmp/16.B && yes "reads the same" || no "reads the same"

# copies, for which the program wants the generic devices
G=/dev/$(ls /sys/block/${A##*/}/device/scsi_generic) H=/dev/$(ls /sys/block/${B##*/}/device/scsi_generic)
say "sg_copy_results: parameters" "Maximum target descriptor count" sg_copy_results -p $A
check "sg_xcopy to another LUN" sg_xcopy if=$G of=$H bs=512 skip=128 seek=1024 count=64 id_usage=disable
dd if=$A of=/tmp/64.from bs=512 skip=128 count=64 iflag=direct status=none; same $B 1024 /tmp/64.from && yes "the same is there" || no "the same is there"
check "sg_xcopy within one, keeping the result" sg_xcopy if=$G of=$G bs=512 skip=160 seek=2048 count=16 list_id=9 id_usage=hold
same $A 2048 /tmp/16.B && yes "the same is there" || no "the same is there"
say "sg_copy_results: status" "." sg_copy_results -s -l 9 $A

# everything of the other disk gone
dd if=/tmp/16.A of=$B bs=512 seek=64 oflag=direct status=none
check "sg_sanitize with a pattern, three times" sg_sanitize --overwrite --pattern=/tmp/1.C --count=3 --invert --quick --wait $B
head -c 8192 /tmp/32.C > /tmp/16.C; same $B 64 /tmp/16.C && yes "is what is there" || no "is what is there"
check "sg_sanitize erases blocks, at once" sg_sanitize --block --quick --early $B
for i in $(seq 600); do sg_turs $B >/dev/null 2>&1 && break; sleep 0.1; done
[ "$(sg_get_lba_status -bb --lba=64 $B | tr -d ' \n')" = 1 ] && yes "nothing is mapped" || no "nothing is mapped"
check "nothing has failed that was to be left" sg_sanitize --fail --quick $B

# what is not there, or wrong, is refused and does nothing else
refused "sg_format: no such command" 9 sg_format --format --quick --fmtpinfo=0 $A
refused "sg_sanitize: no such service action" 5 sg_sanitize --crypto --quick --early $A
refused "sg_reassign: no such command" 9 sg_reassign --address=1 $A
refused "a VPD page that is not there" 5 sg_vpd -p 0xb5 --force $A
refused "blocks past the end" 22 sg_verify --lba=0x7fffffff --count=8 $A
check "after which all is well" sg_turs $A

# resets
for how in device target; do
	check "sg_reset --$how" sg_reset -N --$how $A
	for i in $(seq 300); do dd if=$A of=/dev/null bs=4k count=1 iflag=direct status=none 2>/dev/null && break; sleep 0.2; done
	same $A 160 /tmp/16.B && yes "the disk is as it was" || no "the disk is as it was"
done

# under the kernel's feet
dmesg -C
ask map >/dev/null
sg_turs $A >/dev/null 2>&1
for host in /sys/class/scsi_host/host*/scan; do echo "- - -" > $host; done
C=$(lun 5) && yes "a LUN that is added is found by a scan ($C)" || no "a LUN that is added is found by a scan"
dmesg | grep -qi "LUN assignments on this target have changed" && yes "the kernel has been told (3F/0E)" || { no "the kernel has been told (3F/0E)"; dmesg | tail -n 5; }
ask grow >/dev/null
sg_turs $C >/dev/null 2>&1
dmesg | grep -qi "Capacity data has changed" && yes "the kernel has been told of another size (2A/09)" || { no "the kernel has been told of another size (2A/09)"; dmesg | tail -n 5; }
echo 1 > /sys/block/${C##*/}/device/rescan
[ "$(cat /sys/block/${C##*/}/size)" = 131072 ] && yes "and reads it" || no "and reads it ($(cat /sys/block/${C##*/}/size))"
check "the new end can be written" dd if=/tmp/16.A of=$C bs=512 seek=131056 oflag=direct status=none
echo 1 > /sys/block/${C##*/}/device/delete
ask unmap >/dev/null
sg_turs $A >/dev/null 2>&1
sg_luns $A | grep -q "Lun list length = 24 " && yes "REPORT LUNS has it no more" || no "REPORT LUNS has it no more"

# a disc
for i in $(seq 600); do [ -b /dev/sr0 ] && break; sleep 0.1; done
[ -b /dev/sr0 ] && yes "the CD-ROM is /dev/sr0" || no "the CD-ROM is /dev/sr0"
say "sg_inq: a CD" "PDT=5|cd/dvd" sg_inq /dev/sr0
[ "$(cat /sys/block/sr0/size)" = $((@CD@ * 4)) ] && yes "its size" || no "its size ($(cat /sys/block/sr0/size))"
dd if=/dev/sr0 bs=2048 count=@CD@ status=none | cmp -s - $SHARE/disc && yes "its bytes" || no "its bytes"
dd if=/dev/zero of=/dev/sr0 bs=2048 count=1 status=none 2>/dev/null && no "it is not written" || yes "it is not written"
say "sg_get_config" "Random Readable|random readable" sg_get_config /dev/sr0
say "sg_modes" "." sg_modes -a /dev/sr0
check "sg_prevent" sg_prevent --allow /dev/sr0
check "eject" sg_start --eject /dev/sr0
dd if=/dev/sr0 of=/dev/null bs=2048 count=1 iflag=direct status=none 2>/dev/null && no "an open tray is not read" || yes "an open tray is not read"
check "load" sg_start --load /dev/sr0
for i in $(seq 600); do dd if=/dev/sr0 of=/tmp/sector bs=2048 count=1 iflag=direct status=none 2>/dev/null && break; sleep 0.1; done
head -c 2048 $SHARE/disc | cmp -s - /tmp/sector && yes "a closed one is" || no "a closed one is"
check "logout" iscsiadm -m node -T $target -p $SERVER --logout
exit 0
"""


class Side:
    """The daemon with two disks and a disc."""

    def __init__(self, folder):
        self.server = Server(os.path.join(folder, "state"), uml.SERVER, 3260)
        self.granary = self.server.granary
        self.granary("target", "create", TARGET)
        self.granary("target", "allow", TARGET, "--network", "10.77.0.0/24")
        for number, name in enumerate(("first", "second")):
            self.granary("volume", "create", f"tank/{name}", "256M")
            self.granary("lun", "map", TARGET, f"tank/{name}", "--lun", str(number))
        self.granary("volume", "create", "tank/late", "32M")
        self.disc = os.path.join(folder, "disc")
        with open(self.disc, "wb") as image:
            image.write(b"".join(bytes([block]) * 2048 for block in range(CD_BLOCKS)))
        self.granary("volume", "create", "passthrough/disc", "--device", self.disc)
        self.granary("lun", "map", TARGET, "passthrough/disc", "--lun", "2", "--cdrom")

    def share(self, folder):
        shutil.copy(self.disc, os.path.join(folder, "disc"))

    def answer(self, words):
        if words[0] == "map":
            self.granary("lun", "map", TARGET, "tank/late", "--lun", "5")
        elif words[0] == "grow":
            self.granary("volume", "resize", "tank/late", "64M")
        elif words[0] == "unmap":
            self.granary("lun", "unmap", TARGET, "5")
        return "done"


def test(tap):
    uml.needs()
    uml.enter()
    folder = tempfile.mkdtemp(prefix="granary-sweep-")
    side = guests = None
    try:
        side = Side(folder)
        script = SCRIPT.replace("@TARGET@", TARGET).replace("@CD@", str(CD_BLOCKS))
        guests = uml.Guests(os.path.join(folder, "guest"), [script], side.share)
        in_time = guests.wait(GUEST_LIMIT, side.answer)
        uml.tell(tap, guests, 1, "kernel")
        tap.point(in_time, "through in time")
        luns = json.loads(side.granary("lun", "list", TARGET, "-o", "json"))
        tap.point(all(lun["state"] == "online" for lun in luns), "all LUNs are served", luns)
        tap.point(side.server.stop() == 0, "the daemon stops cleanly")
    finally:
        if guests:
            guests.stop()
        if side:
            side.server.stop()
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    run(test)
