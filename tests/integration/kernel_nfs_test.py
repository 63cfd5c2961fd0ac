#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
# granary-test: timeout=900 engines=one
"""Real NFS clients against the daemon: the Linux kernel in user-mode-linux (v3), libnfs' tools,
QEMU's nfs:// driver, showmount and rpcinfo. The server is killed under the kernel client's writes
and started again: the client goes on, and what it was told is stable is there."""

import os
import signal
import subprocess
import sys
import tempfile
import shutil

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(os.path.dirname(HERE), "guest"))

import uml                  # pylint: disable=wrong-import-position
from server import Server   # pylint: disable=wrong-import-position
from tap import run, Skip   # pylint: disable=wrong-import-position

GUEST_LIMIT = 900
FILES = int(os.environ.get("GRANARY_NFS_FILES", "1000"))

SCRIPT = r"""
modprobe -a nfs nfsv3 || { no "the kernel has NFS"; exit 1; }
up() { mount -i -t nfs -o "vers=3,addr=$SERVER,proto=tcp,mountproto=tcp,nolock,hard,timeo=20,$1" "$SERVER:/files$2" /mnt; }
check "mount, with the port from the portmapper" up rsize=1048576 || { dmesg | tail -n 4; exit 1; }
grep -q 'rsize=1048576,wsize=1048576' /proc/mounts && yes "1 MiB transfers" || no "1 MiB transfers"
cd /mnt
head -c 20M /dev/urandom > /tmp/data
copy() { cp /tmp/data big && sync big && cd / && umount /mnt && up rsize=65536 && cd /mnt && cmp /tmp/data big; }
check "20 MiB come back alike after a new mount" copy
direct() { dd if=/tmp/data of=direct bs=4k count=500 oflag=direct status=none && dd if=direct bs=4k iflag=direct status=none | cmp -n 2048000 - /tmp/data; }
check "O_DIRECT" direct
names() { mkdir -p d/e && echo one > d/a && mv d/a d/e/b && ln d/e/b d/hard && ln -s e/b d/soft && [ "$(cat d/soft)" = one ] && [ "$(stat -c %h d/hard)" = 2 ] && mv d/hard d/e/b && [ ! -e d/hard ] || [ "$(stat -c %h d/e/b)" = 2 ]; }
check "mkdir, rename, link, symlink" names
check "mode, owner, times" sh -c 'touch m && chown 12:34 m && chmod 4751 m && touch -d @1000000000 m && [ "$(stat -c "%a %u %g %Y" m)" = "4751 12 34 1000000000" ]'
check "mkfifo, mknod" sh -c 'mkfifo p && mknod c c 1 3 && [ -p p ] && [ "$(stat -c "%t %T" c)" = "1 3" ]'
unlinked() { exec 7<> gone && echo still >&7 && rm gone && [ ! -e gone ] && ls -a | grep -q '^\.nfs' && [ "$(cat < /proc/self/fd/7)" = still ]; local r=$?; exec 7>&-; return $r; }
check "a file that is open when it is removed" unlinked
check "truncate, append, holes" sh -c 'truncate -s 1G hole && [ "$(stat -c %b hole)" -lt 100 ] && echo x >> hole && [ "$(stat -c %s hole)" = 1073741826 ] && truncate -s 3 hole && [ "$(stat -c %s hole)" = 3 ]'
check "another user has no right" sh -c 'mkdir -m 700 private && ! setpriv --reuid 1000 --clear-groups touch private/x 2>/dev/null && ! setpriv --reuid 1000 --clear-groups ls private 2>/dev/null'
many() { mkdir many && cd many && perl -e 'for (1..@FILES@) { open(my $f, ">", "f$_") or die "f$_: $!"; }' && cd .. && [ "$(ls -f many | wc -l)" = $((@FILES@ + 2)) ]; }
T=$(date +%s); check "@FILES@ files in a directory, all listed" many; echo "# $(($(date +%s) - T)) s"
slow() { echo 3 > /proc/sys/vm/drop_caches; [ "$(ls -l many | wc -l)" = $((@FILES@ + 1)) ]; }
check "and listed with their attributes" slow
check "removed again" sh -c 'rm -r many && [ ! -e many ]'
check "df" sh -c 'df /mnt | grep -q /mnt'
locks() { perl -e 'use Fcntl ":flock"; open(my $f, ">", "lock") or die; flock($f, LOCK_EX) or die "flock: $!"'; }
check "flock (of this client: nolock)" locks
# The server dies under these writes and comes back.
writer() { perl -e 'use Fcntl; sysopen(my $f, "soak", O_RDWR|O_CREAT|O_SYNC) or die; for my $i (1..400) { sysseek($f, 4096 * $i, 0); syswrite($f, sprintf("%4096d", $i)) == 4096 or die "write $i: $!"; open(my $a, ">", "/tmp/acked"); print $a $i; close $a; if ($i == 50) { open(my $g, ">", "$ENV{SHARE}/.k"); close $g; rename("$ENV{SHARE}/.k", "$ENV{SHARE}/kill-now"); } }'; }
check "400 synchronous writes, the server killed and restarted meanwhile" writer
# Port 111 may be the killed one's for a moment longer than 2049; mount.nfs tries for two minutes.
again() { for i in $(seq 60); do up vers=3 2> /tmp/why && return; sleep 0.5; done; cat /tmp/why; return 1; }
cd /; umount /mnt; check "mount again" again; cd /mnt
verify() { perl -e 'open(my $f, "<", "soak") or die; for my $i (1..400) { sysseek($f, 4096 * $i, 0); sysread($f, my $b, 4096); $b == $i or die "record $i: $b"; }'; }
check "every acknowledged record is there" verify
check "what was written before too" cmp /tmp/data big
cd /; umount /mnt
up vers=3 /d && [ -d /mnt/e ] && yes "mounted as its own root" || no "mounted as its own root"
cd /; umount /mnt
dmesg | grep -iE 'nfs:|RPC:|BUG|stale' | tail -n 5 | sed 's/^/# kernel: /'
exit 0
"""


FOUR = r"""
modprobe -a nfs nfsv4 || { no "the kernel has NFSv4"; exit 1; }
ADDRESS=$(ip -4 -o addr show vec0 | awk '{ sub("/.*", "", $4); print $4 }')
up() { mount -i -t nfs4 -o "vers=4.1,addr=$SERVER,clientaddr=$ADDRESS,proto=tcp,hard,timeo=20,$1" "$SERVER:$2" /mnt; }
check "v4.1: mount of /files" timeout 120 mount -i -t nfs4 -o "vers=4.1,addr=$SERVER,clientaddr=$ADDRESS,proto=tcp" "$SERVER:/files" /mnt || { dmesg | tail -n 6; exit 1; }
cd /mnt
head -c 20M /dev/urandom > /tmp/data
copy() { cp /tmp/data big4 && sync big4 && cd / && umount /mnt && up nconnect=2 /files && cd /mnt && cmp /tmp/data big4; }
check "v4.1: 20 MiB come back alike after a new mount" copy
direct() { dd if=/tmp/data of=direct4 bs=4k count=500 oflag=direct status=none && dd if=direct4 bs=4k iflag=direct status=none | cmp -n 2048000 - /tmp/data; }
check "v4.1: O_DIRECT" direct
names() { mkdir -p d4/e && echo one > d4/a && mv d4/a d4/e/b && ln d4/e/b d4/hard && ln -s e/b d4/soft && [ "$(cat d4/soft)" = one ] && [ "$(stat -c %h d4/hard)" = 2 ]; }
check "v4.1: mkdir, rename, link, symlink" names
check "v4.1: mode, owner, times" sh -c 'touch m4 && chown 12:34 m4 && chmod 4751 m4 && touch -d @1000000000 m4 && [ "$(stat -c "%a %u %g %Y" m4)" = "4751 12 34 1000000000" ]'
unlinked() { exec 7<> gone4 && echo still >&7 && rm gone4 && [ ! -e gone4 ] && [ "$(cat < /proc/self/fd/7)" = still ]; local r=$?; exec 7>&-; return $r; }
check "v4.1: a file that is open when it is removed" unlinked
check "v4.1: truncate, append, holes" sh -c 'truncate -s 1G hole4 && [ "$(stat -c %b hole4)" -lt 100 ] && echo x >> hole4 && [ "$(stat -c %s hole4)" = 1073741826 ]'
check "v4.1: O_EXCL, once" sh -c 'set -C; echo a > excl && ! echo b > excl 2>/dev/null'
check "v4.1: another user has no right" sh -c 'mkdir -m 700 private4 && ! setpriv --reuid 1000 --clear-groups touch private4/x 2>/dev/null'
many() { mkdir many4 && cd many4 && perl -e 'for (1..300) { open(my $f, ">", "f$_") or die "f$_: $!"; }' && cd .. && [ "$(ls many4 | wc -l)" = 300 ] && rm -r many4; }
check "v4.1: 300 files" many
check "v4.1: df" sh -c 'df /mnt | grep -q /mnt'
cd /; umount /mnt
check "v4.1: the root above the exports" up vers=4.1 /
ls /mnt | grep -qx files && cmp /mnt/files/big4 /tmp/data && yes "v4.1: /files is below it" || { no "v4.1: /files is below it"; ls -la /mnt; }
umount /mnt/files 2>/dev/null; umount /mnt
two() { mount -i -t nfs4 -o "vers=4.2,addr=$SERVER,clientaddr=$ADDRESS,proto=tcp,hard,timeo=20,nconnect=2" "$SERVER:/files" /mnt; }
check "v4.2: mount" two
grep -q 'vers=4.2.*nconnect=2' /proc/mounts && yes "v4.2: two connections" || no "v4.2: two connections"
cd /mnt
holes() { head -c 1M /dev/urandom > holes && truncate -s 8M holes && echo end >> holes && sync holes && [ "$(xfs_io -r -c 'seek -h 0' holes | awk '/HOLE/ { print $2 }')" = 1048576 ] && [ "$(xfs_io -r -c 'seek -d 1048576' holes | awk '/DATA/ { print $2 }')" = 8388608 ]; }
check "v4.2: SEEK_HOLE, SEEK_DATA" holes
punch() { fallocate -p -o 4096 -l 65536 holes && sync holes && [ "$(xfs_io -r -c 'seek -h 0' holes | awk '/HOLE/ { print $2 }')" = 4096 ] && cmp -n 65536 -i 4096:0 holes /dev/zero && [ "$(stat -c %s holes)" = 8388612 ]; }
check "v4.2: a hole is punched" punch
aside() { fallocate -l 3M promised && [ "$(stat -c '%s %b' promised)" = "3145728 6144" ] && cmp -n 3145728 promised /dev/zero && [ "$(xfs_io -r -c 'seek -h 0' promised | awk '/HOLE/ { print $2 }')" = 0 ] && grep -Eq '^[[:space:]]*ALLOCATE: [1-9]' /proc/self/mountstats; }
check "v4.2: fallocate" aside
posix() { head -c 100000 /tmp/data > kept && fallocate -x -o 50000 -l 2000000 kept && [ "$(stat -c %s kept)" = 2050000 ] && cmp -n 100000 kept /tmp/data && [ "$(stat -c %b kept)" = 4008 ] && dd if=/tmp/data of=kept bs=1M count=1 conv=notrunc status=none && sync kept && cmp -n 1048576 kept /tmp/data && [ "$(stat -c %b kept)" = 4008 ]; }
check "v4.2: posix_fallocate: data stays, and goes where the space is" posix
beside() { fallocate -p -o 1M -l 1M promised && [ "$(stat -c '%s %b' promised)" = "3145728 4096" ] && fallocate -o 1M -l 1M promised && [ "$(stat -c '%s %b' promised)" = "3145728 6144" ]; }
check "v4.2: a hole is punched beside it, and set aside again" beside
check "v4.2: space that is not there is not promised" sh -c '! fallocate -l 8T toomuch 2>/tmp/said && grep -qi "no space" /tmp/said && [ "$(stat -c "%s %b" toomuch)" = "0 0" ]'
copies() { xfs_io -f -c 'copy_range big4' copied && cmp /tmp/data copied && xfs_io -f -c 'copy_range holes' sparse && cmp holes sparse && grep -E '^[[:space:]]*(COPY|WRITE):' /proc/self/mountstats; grep -Eq '^[[:space:]]*COPY: [1-9]' /proc/self/mountstats; }
check "v4.2: a whole file is copied on the server" copies
check "v4.2: holes stay holes" sh -c '[ "$(stat -c %b sparse)" -lt 3000 ]'
ranges() { xfs_io -f -c 'copy_range -s 100 -d 7 -l 5000 holes' ranged && cmp -n 5000 -i 100:7 holes ranged; }
check "v4.2: copy_file_range" ranges
asked() { awk '$1 == "COPY:" { n = $2 } END { print n + 0 }' /proc/self/mountstats; }
lately() { head -c 80M /dev/urandom > long && sync long || return 1; local before=$(asked); xfs_io -f -c 'copy_range -s 1 -d 7 -l 83886079 long' lately && [ $(($(asked) - before)) = 1 ] && cmp -n 83886079 -i 1:7 long lately && rm long lately; }
check "v4.2: 80 MiB that can not be cloned, by one COPY in the background" lately
used() { sync big4; df -k --output=used /mnt | tail -n 1; }
clones() { local before=$(used); cp --reflink=always big4 cloned && cmp /tmp/data cloned && grep -Eq '^[[:space:]]*CLONE: [1-9]' /proc/self/mountstats && [ "$(stat -c %b cloned)" = "$(stat -c %b big4)" ] && [ $(($(used) - before)) -lt 4096 ]; }
check "v4.2: cp --reflink: a clone, without space of its own" clones
apart() { cp /tmp/data /tmp/mine && printf changed | dd of=/tmp/mine bs=1 seek=5000000 conv=notrunc status=none && printf changed | dd of=cloned bs=1 seek=5000000 conv=notrunc status=none && sync cloned && cmp /tmp/data big4 && rm big4 && cmp /tmp/mine cloned && cp --reflink=always cloned big4 && rm cloned && printf '%s' "$(tail -c +5000001 /tmp/data | head -c 7 | base64)" | base64 -d | dd of=big4 bs=1 seek=5000000 conv=notrunc status=none && sync big4 && cmp /tmp/data big4; }
check "v4.2: either changes without the other" apart
parts() { xfs_io -f -c 'reflink holes 1048576 4096 65536' parted && cmp -n 65536 -i 1048576:4096 holes parted && xfs_io -c 'reflink parted 4096 1048576 65536' parted && cmp -n 65536 -i 4096:1048576 parted parted; }
check "v4.2: parts of files are cloned" parts
attributes() { setfattr -n user.one -v value holes && [ "$(getfattr --only-values -n user.one holes)" = value ] && setfattr -n user.two -v x holes && getfattr holes | grep -q user.two && setfattr -x user.one holes && ! getfattr -n user.one holes; }
check "v4.2: extended attributes" attributes
acls() { echo x > acl && chmod 640 acl && nfs4_getfacl acl | grep -q '^A::OWNER@:rw' && nfs4_setfacl -a A::1000:rw acl && nfs4_getfacl acl | grep -q '^A::1000:rw' && setpriv --reuid 1000 --clear-groups sh -c 'echo mine >> acl' && ! setpriv --reuid 1001 --clear-groups cat acl 2>/dev/null && nfs4_setfacl -x A::1000:rwatcy acl; nfs4_getfacl acl; nfs4_setfacl -s A::OWNER@:rwatTcCy,A::EVERYONE@:rtcy acl && [ "$(stat -c %a acl)" = 644 ]; }
check "v4.2: nfs4_setfacl, nfs4_getfacl" acls
inherits() { mkdir acls && nfs4_setfacl -a A:fd:1000:rwaDxtTcCy acls && (umask 2; echo y > acls/f; mkdir acls/d) && nfs4_getfacl acls/f | grep -q 1000 && nfs4_getfacl acls/d | grep -q 'A:fd:1000' && setpriv --reuid 1000 --clear-groups touch acls/d/mine; }
check "v4.2: a directory's ACL goes on to what is made in it" inherits
beat() { for i in $(seq 20); do printf '%4096d' $i | dd of=beat bs=512 count=8 oflag=direct,dsync conv=notrunc status=none iflag=fullblock || return 1; [ "$(dd if=beat bs=4k count=1 iflag=direct status=none | tr -d ' ')" = $i ] || return 1; done; }
check "v4.2: a heartbeat with O_DIRECT" beat
gone() { exec 7<> gone42 && echo still >&7 && rm gone42 && [ "$(cat < /proc/self/fd/7)" = still ]; local r=$?; exec 7>&-; return $r; }
check "v4.2: a file that is open when it is removed" gone
quotas() { echo x > limited && chown 4711 limited && sync limited && quota -v -w -u 4711 > /tmp/said; sed 's/^/# /' /tmp/said; grep -Eq ':/files +4 +102400 +102400 +1 +7 +7' /tmp/said; }
if command -v quota > /dev/null; then check "quota(1), which asks over UDP, shows what a user has and may have" quotas; fi
cd /; umount /mnt
check "v4.1: what was written is there over v3" sh -c 'mount -i -t nfs -o "vers=3,addr=$SERVER,proto=tcp,mountproto=tcp,nolock" "$SERVER:/files" /mnt && cmp /mnt/big4 /tmp/data && umount /mnt'
dmesg | grep -iE 'nfs:|BUG|stale|NFSv4' | tail -n 5 | sed 's/^/# kernel: /'
exit 0
"""


def tool(*words, limit=120):
    done = subprocess.run(words, capture_output=True, timeout=limit, stdin=subprocess.DEVNULL)
    return done.returncode, done.stdout + done.stderr


def need_tools():
    for name in ("showmount", "rpcinfo", "nfs-ls", "nfs-cp", "nfs-cat", "qemu-img"):
        if not shutil.which(name):
            raise Skip(f"{name} is not installed")


def tools(tap, folder):
    """The programs people look with."""
    status, said = tool("showmount", "-e", uml.SERVER)
    tap.point(status == 0 and b"/files" in said, "showmount -e", said)
    status, said = tool("showmount", "--no-headers", "--exports", uml.SERVER)
    tap.point(status == 0 and said.startswith(b"/files"), "showmount as Proxmox asks", said)
    status, said = tool("rpcinfo", "-T", "tcp", uml.SERVER, "nfs", "3")
    tap.point(status == 0 and b"ready" in said, "rpcinfo -T tcp", said)
    status, said = tool("rpcinfo", "-p", uml.SERVER)
    tap.point(status == 0 and b"mountd" in said, "rpcinfo -p", said)
    source = os.path.join(folder, "source")
    with open(source, "wb") as file:
        file.write(os.urandom(5 << 20))
    url = f"nfs://{uml.SERVER}/files"
    tap.point(tool("nfs-cp", source, url + "/copied")[0] == 0, "nfs-cp")
    status, said = tool("nfs-cat", url + "/copied")
    with open(source, "rb") as file:
        tap.point(status == 0 and said == file.read(), "nfs-cat brings the same bytes")
    status, said = tool("nfs-ls", url)
    tap.point(status == 0 and b"copied" in said, "nfs-ls", said)


def qemu(tap, folder):
    """Disk images: qcow2 and raw, holes preserved."""
    local, url = os.path.join(folder, "local.raw"), f"nfs://{uml.SERVER}/files/"
    with open(local, "wb") as file:
        file.truncate(256 << 20)
        for at in (0, 100 << 20, (256 << 20) - 65536):
            file.seek(at)
            file.write(os.urandom(65536))
    for kind in ("qcow2", "raw"):
        image = url + "disk." + kind
        status, said = tool("qemu-img", "convert", "-q", "-f", "raw", "-O",
                            kind, local, image)
        tap.point(status == 0, f"qemu-img convert to {kind}", said)
        status, said = tool("qemu-img", "compare", "-f", "raw", "-F", kind, local, image)
        tap.point(status == 0, f"qemu-img compare with {kind}", said)
    status, said = tool("qemu-img", "check", url + "disk.qcow2")
    tap.point(status == 0, "qemu-img check", said)


class Restarts:
    """Kills the server when the guest says so, and starts it again on the same state."""

    def __init__(self, folder):
        self.state = os.path.join(folder, "state")
        self.flag = os.path.join(folder, "guest", "share", "kill-now")
        self.kills = 0
        self.start()

    def start(self):
        self.server = Server(self.state, uml.SERVER, 3260, nfs_port=2049)

    def poll(self):
        if os.path.exists(self.flag) and not self.kills:
            self.kills += 1
            self.server.process.send_signal(signal.SIGKILL)
            self.server.process.wait()
            self.start()


def wait_for_guest(guests, restarts):
    """Guests.wait() in small pieces, with an eye on the flag."""
    for _ in range(GUEST_LIMIT * 4):
        restarts.poll()
        if guests.wait(0.25):
            return True
    return False


def test(tap):
    need_tools()
    uml.needs()
    uml.enter()
    folder = tempfile.mkdtemp(prefix="granary-nfs-")
    restarts = guests = None
    try:
        restarts = Restarts(folder)
        restarts.server.granary("share", "allow", "tank/files", "--client", "10.77.0.0/24",
                                "--no-root-squash")
        restarts.server.granary("share", "allow", "tank/files", "--client", uml.SERVER,
                                "--no-root-squash", "--insecure")
        restarts.server.granary("share", "limit", "tank/files", "4711", "--size", "100M",
                                "--files", "7")
        tools(tap, folder)
        qemu(tap, folder)
        script = SCRIPT.replace("@FILES@", str(FILES))
        four = uml.Guests(os.path.join(folder, "four"), [FOUR])
        try:
            tap.point(four.wait(GUEST_LIMIT), "kernel, v4.1: through in time")
            uml.tell(tap, four, 1, "kernel")
        finally:
            four.stop()
        guests = uml.Guests(os.path.join(folder, "guest"), [script])
        in_time = wait_for_guest(guests, restarts)
        uml.tell(tap, guests, 1, "kernel")
        tap.point(in_time, "kernel: through in time", restarts.server.log()[-2000:])
        tap.point(restarts.kills == 1, "the server was killed once")
        said = restarts.server.granary("share", "check", "tank/files")
        tap.point("no errors" in said, "the share's structures are sound", said)
        tap.point(restarts.server.stop() == 0, "the daemon stops cleanly")
    finally:
        if guests:
            guests.stop()
        if restarts:
            restarts.server.stop()
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    run(test)
