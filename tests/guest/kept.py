# SPDX-License-Identifier: Apache-2.0
"""What an appliance's state partition holds, looked at without starting the machine: mended as its
start would mend it, its files taken out, and served by this tree's daemon where nobody else sees
it. As root: in name spaces of its own, the folder is where the machine has it."""

import json
import os
import subprocess

import server as daemon

MIB = 1 << 20
MENDED = (0, 1)
WRITTEN = 1024 + 0x30  # when the superblock was
SERVE = """
ip link set lo up && mount -t tmpfs none /var/lib && mkdir /var/lib/granary &&
	mount --bind "$1" /var/lib/granary || exit 9
"$2/granaryd" --state /var/lib/granary > "$1.log" 2>&1 &
for i in $(seq 600); do
	"$2/granary" --state /var/lib/granary pool show tank -o json 2>/dev/null |
		grep -q '"online"' && break
	kill -0 $! || break
	sleep 0.1
done
qemu-img compare -f raw -F raw "$3" "$4" 2>&1
result=$?
kill $!
wait $!
exit $result
"""


def run(*words):
    return subprocess.run(words, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, text=True, timeout=300, check=False)


def partition(disk, name):
    """(first byte, bytes) of a raw disk's partition; None: it has none of that name."""
    table = json.loads(run("sfdisk", "--json", disk).stdout)["partitiontable"]
    return next(((part["start"] * 512, part["size"] * 512) for part in table["partitions"]
                 if part.get("name") == name), None)


def copy_part(disk, place, path):
    """Of its own, holes and all: to mend it is not to change the disk."""
    start, end = place[0], place[0] + place[1]
    with open(disk, "rb") as source, open(path, "wb") as copy:
        copy.truncate(place[1])
        while start < end:
            try:
                start = os.lseek(source.fileno(), start, os.SEEK_DATA)
            except OSError:  # none behind it
                return
            stop = min(os.lseek(source.fileno(), start, os.SEEK_HOLE), end)
            os.lseek(copy.fileno(), start - place[0], os.SEEK_SET)
            while start < stop:
                start += os.sendfile(copy.fileno(), source.fileno(), start,
                                     min(stop - start, 64 * MIB))


def take_out(part, folder, pool):
    """Its files into @folder, but of the pools only @pool."""
    os.mkdir(folder)
    wanted = []
    for line in run("debugfs", "-R", "ls -p /", part).stdout.splitlines():
        fields = line.split("/")
        if len(fields) < 6 or fields[5] in ("", ".", "..", "lost+found"):
            continue
        if fields[2].startswith("10") and (not fields[5].endswith(".pool") or fields[5] == pool):
            wanted.append(f"dump /{fields[5]} {folder}/{fields[5]}")
        elif fields[2].startswith("04"):
            wanted.append(f"rdump /{fields[5]} {folder}")
    commands = folder + ".commands"
    with open(commands, "w", encoding="ascii") as file:
        file.write("\n".join(wanted) + "\n")
    return run("debugfs", "-f", commands, part)


def mend(part):
    """What the machine's start does before it mounts it, and nothing more: granary-state.service (a
    superblock that was written by half), systemd-fsck (the journal, and what can be mended without
    loss). Whether there was such a superblock, and what was said when that was not enough."""
    first = run(os.path.join(daemon.BUILD, "granary-state"), part)
    done = run("e2fsck", "-p", part)
    return ("checksum is mended" in first.stdout,
            "" if done.returncode in MENDED else first.stdout + done.stdout)


def tear(disk, work):
    """The first sector of the superblock of the raw @disk's state partition becomes that of a later
    write, the second one stays. What e2fsck -p makes of that, on a copy in @work: its exit status."""
    place, part = partition(disk, "state"), os.path.join(work, "torn")
    with open(disk, "r+b") as file:
        file.seek(place[0] + WRITTEN)
        when = int.from_bytes(file.read(4), "little")
        file.seek(place[0] + WRITTEN)
        file.write((when + 7).to_bytes(4, "little"))
    copy_part(disk, place, part)
    status = run("e2fsck", "-p", part).returncode
    os.unlink(part)
    return status


def wrong(disk, work, data, url):
    """(whether the superblock of the raw @disk's state partition was written by half; what is not as
    it should be, in words, "" when the daemon serves a LUN @url from it that holds @data). @work: a
    folder that is gone later."""
    part, folder = os.path.join(work, "part"), os.path.join(work, "state")
    place = partition(disk, "state")
    if not place:
        return False, "there is no state partition"
    copy_part(disk, place, part)
    torn, said = mend(part)
    if said:
        return torn, f"the state partition can not be mended: {said}"
    take_out(part, folder, "tank.pool")
    done = run("unshare", "--mount", "--net", "--propagation", "private", "bash", "-c", SERVE, "bash",
               folder, daemon.BUILD, data, url)
    if done.returncode == 0:
        return torn, ""
    with open(folder + ".log", encoding="utf-8", errors="replace") as log:
        return torn, f"what is served is not what was written: {done.stdout} {log.read()[-1000:]}"
