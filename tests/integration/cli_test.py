#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
# granary-test: timeout=150 engines=one
"""The life of pools, volumes, targets and LUNs through the granary command: good calls, every
kind of bad input, restarts, damaged and foreign pool files, full disks. After each refusal the
daemon serves on and nothing is lost."""

import contextlib
import os
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import threading
import time

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(os.path.dirname(HERE), "guest"))

import pools  # pylint: disable=wrong-import-position
import tap  # pylint: disable=wrong-import-position

BUILD = os.path.abspath(os.environ.get("BUILD", "build"))
IQN = "iqn.2026-11.org.example:cli"
SECRET = "a-secret-of-some-length"
MIB = 1 << 20
SUPERBLOCK = 4096
COPIES = (65536, 2 * 65536)  # from the head; the other two are as far from the tail's start
AREA = MIB
VERSION_AT, CRC_AT = 8, 12  # in a superblock (docs/FORMAT.md)


class Daemon(pools.Daemon):
    """granaryd without --demo on free loopback ports; several starts on one state."""

    iqn = IQN


def tool(*command, timeout=120):
    return subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True,
                          timeout=timeout)


def sound_stop(points, daemon, when):
    status = daemon.stop()
    points.point(status == 0, f"clean stop {when}", f"exit {status}\n{daemon.log()[-3000:]}")


def refused(points, daemon, says, *words, status=1):
    """One clear line on stderr, the exit status, nothing on stdout; the daemon serves on."""
    result = daemon.run(*words)
    lines = result.stderr.splitlines()
    points.point(result.returncode == status and not result.stdout and len(lines) == 1 and
                 lines[0].startswith("granary: ") and says in lines[0] and
                 daemon.run("status").returncode == 0,
                 f"refused ({status}): granary {' '.join(words)[:90]}",
                 f"exit {result.returncode}\n{result.stdout}{result.stderr}")


def life(points, daemon, folder):
    pool = os.path.join(folder, "tank.pool")
    daemon.good("pool", "create", "tank", f"{pool}:1G")
    points.point(os.path.getsize(pool) == 1 << 30 and os.stat(pool).st_blocks * 512 < 300 * MIB,
                 "a pool file is created sparse, with the size asked for")
    daemon.good("volume", "create", "tank/one", "10G")
    daemon.good("volume", "create", "tank/two", "1.5TiB")
    show = daemon.json("volume", "show", "tank/one")
    points.point(show["size_bytes"] == 10 << 30 and show["naa"].startswith("6") and
                 len(show["naa"]) == 32 and show["scsi_id"] == "3" + show["naa"] and
                 len(show["serial"]) == 32, "a volume has its size and identity", show)
    daemon.good("volume", "resize", "tank/one", "12G")
    daemon.good("volume", "rename", "tank/two", "second")
    names = [volume["name"] for volume in daemon.json("volume", "list")]
    points.point(names == ["one", "second"], "volume list after a rename", names)
    daemon.good("target", "create", IQN)
    daemon.good("lun", "map", IQN, "tank/one")
    daemon.good("lun", "map", IQN, "tank/second", "--lun", "7")
    luns = [(lun["lun"], lun["volume"], lun["state"]) for lun in daemon.json("lun", "list", IQN)]
    points.point(luns == [(0, "one", "online"), (7, "second", "online")], "lun list", luns)
    status = daemon.json("status")
    points.point(status["daemon"]["pid"] == daemon.process.pid and
                 status["daemon"]["version"] and status["daemon"]["io_engine"] in ("uring", "aio"),
                 "status names pid, version and I/O engine", status["daemon"])
    points.point([(e["protocol"], e["address"], e["port"]) for e in status["endpoints"]] ==
                 [("iscsi", "127.0.0.1", daemon.port)], "status lists the endpoints",
                 status["endpoints"])
    tank = status["pools"][0]
    points.point(tank["provisioned_bytes"] == (12 << 30) + (3 << 39) and tank["overcommit"] > 1000
                 and tank["used_bytes"] + tank["free_bytes"] <= tank["size_bytes"] < 1 << 30,
                 "status has used, free and over-commit of the pool", tank)
    for verb in ("pool", "volume", "target", "lun", "session", "initiator"):
        points.point(daemon.run(verb, "list").returncode == 0, f"{verb} list as a table")
    return show["naa"]


def access(points, daemon, folder):
    """Deny by default, rules, CHAP, sessions."""
    secret = os.path.join(folder, "secret")
    with open(secret, "w", encoding="ascii") as file:
        file.write(SECRET + "\n")
    points.point(tool("qemu-img", "info", daemon.url()).returncode != 0,
                 "without a rule nobody gets in")
    daemon.good("target", "allow", IQN, "--network", "127.0.0.0/8")
    points.point(tool("qemu-img", "info", daemon.url()).returncode == 0,
                 "a network rule lets this host in")
    pools.wait_for(lambda: not daemon.json("session", "list"))
    keeper = subprocess.Popen(["qemu-io", "-f", "raw", daemon.url(), "-c", "sleep 60000"],
                              stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                              stderr=subprocess.DEVNULL)
    try:
        sessions = pools.wait_for(lambda: daemon.json("session", "list"))
        points.point(len(sessions) == 1 and sessions[0]["target"] == IQN and
                     sessions[0]["peer"].startswith("127.0.0.1:"), "session list shows it",
                     sessions)
        names = [item["initiator"] for item in daemon.json("initiator", "list")]
        points.point(sessions[0]["initiator"] in names, "initiator list names it", names)
        before = sessions[0]["id"]
        daemon.good("session", "drop", str(before))
        points.point(pools.wait_for(lambda: all(s["id"] != before
                                          for s in daemon.json("session", "list"))),
                     "session drop drops it")
    finally:
        keeper.kill()
        keeper.wait()
    daemon.good("target", "allow", IQN, "--network", "127.0.0.0/8", "--chap-user", "alice",
                "--chap-secret-file", secret)
    rules = daemon.json("target", "rules", IQN)
    points.point(len(rules) == 1 and rules[0]["chap_user"] == "alice",
                 "the same network again replaces the rule", rules)
    points.point(tool("qemu-img", "info", daemon.url()).returncode != 0, "now CHAP is asked for")
    chap = daemon.url().replace("iscsi://", f"iscsi://alice%{SECRET}@")
    points.point(tool("qemu-img", "info", chap).returncode == 0, "and the secret lets in")
    shown = daemon.good("status", "-o", "json") + daemon.good("target", "show", IQN) + daemon.log()
    points.point(SECRET not in shown, "the secret is not shown and not logged")
    daemon.stop()
    stored = b""
    for name in os.listdir(daemon.state):
        if name.startswith("config.db"):
            with open(os.path.join(daemon.state, name), "rb") as file:
                stored += file.read()
    points.point(b"alice" in stored and SECRET.encode() not in stored, "nor is it in the store")
    key = os.path.join(daemon.state, "secret.key")
    points.point(os.stat(key).st_mode & 0o777 == 0o600, "its key is private")
    os.rename(key, key + ".away")
    daemon.start()
    points.point(tool("qemu-img", "info", chap).returncode != 0 and
                 "set it again" in daemon.log(), "with another key nobody gets in")
    daemon.good("target", "allow", IQN, "--network", "10.9.8.0/24")
    daemon.good("target", "deny", IQN, "--network", "10.9.8.0/24")
    daemon.stop()
    os.rename(key + ".away", key)
    daemon.start()
    points.point(tool("qemu-img", "info", chap).returncode == 0, "with the right one they do")
    daemon.good("target", "deny", IQN, "--network", "127.0.0.0/8")
    points.point(tool("qemu-img", "info", chap).returncode != 0, "deny keeps it out again")
    daemon.good("target", "allow", IQN, "--network", "127.0.0.0/8")


def bad_input(points, daemon, folder):
    for size in ("0", "-1G", "10Q", "1.5.2G", "G", "", "1 G", "99999999P", "65T", "4K", "1000001",
                 "0x100000", "1e9"):
        refused(points, daemon, "", "volume", "create", "tank/bad", size)
    for name in ("bad", "/bad", "tank/", "tank/a/b", "tank/.hidden", "tank/-x", "tank/a b",
                 "tank/" + "x" * 128, "tank/\u00e4", "tank/a\nb"):
        refused(points, daemon, "", "volume", "create", name, "1G")
    for words, says in (
            (("volume", "create", "none/a", "1G"), "no pool named none"),
            (("volume", "create", "tank/one", "1G"), "one"),
            (("volume", "resize", "tank/one", "1G"), "shrink"),
            (("volume", "resize", "tank/none", "1G"), "no volume named tank/none"),
            (("volume", "resize", "tank/one", "65T"), "64 TiB"),
            (("volume", "rename", "tank/one", "second"), "second"),
            (("volume", "show", "tank/none"), "no volume named tank/none"),
            (("volume", "delete", "tank/none", "--yes"), "no volume named tank/none"),
            (("volume", "delete", "tank/one", "--yes"), "LUN 0"),
            (("pool", "show", "none"), "no pool named none"),
            (("pool", "delete", "none", "--yes"), "no pool named none"),
            (("pool", "delete", "tank", "--yes"), "tank"),
            (("pool", "create", "tank", folder + "/x.pool:1G"), "already"),
            (("pool", "create", "a/b", folder + "/x.pool:1G"), "name"),
            (("pool", "create", "new", folder + "/x.pool:12Q"), "12Q"),
            (("pool", "create", "new", folder + "/x.pool:1K"), ""),
            (("pool", "create", "new", folder + "/none"), "none"),
            (("pool", "create", "new", folder + "/no/dir/x.pool:1G"), "x.pool"),
            (("pool", "create", "new", folder), ""),
            (("pool", "create", "new", "/dev/null"), "/dev/null"),
            (("pool", "create", "new", folder + "/tank.pool"), ""),
            (("pool", "create", "new", "--force", folder + "/tank.pool"), ""),
            (("pool", "import", folder + "/tank.pool"), ""),
            (("target", "create", "nonsense"), ""),
            (("target", "create", "iqn.2026-11.org.example:UPPER case"), ""),
            (("target", "create", "iqn.2026-11.org.example:" + "x" * 220), ""),
            (("target", "create", IQN), "already"),
            (("target", "show", "iqn.2026-11.org.example:none"), "no target named"),
            (("target", "delete", "iqn.2026-11.org.example:none", "--yes"), "no target named"),
            (("target", "allow", "iqn.2026-11.org.example:none"), "no target named"),
            (("target", "allow", IQN, "--network", "300.0.0.0/8"), ""),
            (("target", "allow", IQN, "--network", "10.0.0.0/33"), ""),
            (("target", "allow", IQN, "--initiator", "nonsense"), ""),
            (("target", "allow", IQN, "--chap-user", "a", "--chap-secret-file",
              folder + "/none"), "none"),
            (("target", "deny", IQN, "--network", "10.9.9.0/24"), "no such rule"),
            (("target", "deny", IQN, "--rule", "x"), "x"),
            (("lun", "map", "iqn.2026-11.org.example:none", "tank/one"), "no target named"),
            (("lun", "map", IQN, "tank/none"), "no volume named tank/none"),
            (("lun", "map", IQN, "tank/one"), "LUN 0"),
            (("lun", "map", IQN, "tank/one", "--lun", "99999"), ""),
            (("lun", "map", IQN, "tank/one", "--lun", "-1"), ""),
            (("lun", "map", IQN, "tank/one", "--lun", "x"), "x"),
            (("lun", "map", IQN, "one"), "POOL/NAME"),
            (("lun", "unmap", IQN, "55"), "no LUN 55"),
            (("session", "drop", "424242"), "424242"),
            (("session", "drop", "x"), "x"),
    ):
        refused(points, daemon, says, *words)
    short = os.path.join(folder, "short")
    with open(short, "w", encoding="ascii") as file:
        file.write("short\n")
    refused(points, daemon, "12 to 255", "target", "allow", IQN, "--chap-user", "a",
            "--chap-secret-file", short)
    for words in (("pool",), ("pool", "fly"), ("fly", "high"), ("volume", "create", "tank/x"),
                  ("volume", "list", "--fly"), ("target", "allow", IQN, "--chap-user", "a"),
                  ("target", "deny", IQN), ("volume", "delete", "tank/one"),
                  ("pool", "delete", "tank"), ("target", "delete", IQN), ("-o", "xml", "status")):
        refused(points, daemon, "", *words, status=2)
    points.point(not os.path.exists(folder + "/x.pool"), "a refused pool leaves no file behind")
    nobody = subprocess.run([os.path.join(BUILD, "granary"), "--state", folder + "/nobody",
                             "status"], capture_output=True, text=True, timeout=60)
    points.point(nobody.returncode == 1 and len(nobody.stderr.splitlines()) == 1 and
                 "no granaryd" in nobody.stderr, "no daemon: one clear line", nobody.stderr)


def foreign_files(points, daemon, folder):
    path = os.path.join(folder, "foreign")
    with open(path, "wb") as file:
        file.write(os.urandom(MIB))
        file.truncate(256 * MIB)
    refused(points, daemon, "foreign", "pool", "import", path)
    tool("mke2fs", "-q", "-F", "-t", "ext4", path)
    refused(points, daemon, "foreign", "pool", "create", "new", path)
    points.point(tool("e2fsck", "-fn", path).returncode == 0, "the file system on it is whole")
    daemon.good("pool", "create", "new", path, "--force")
    daemon.good("pool", "delete", "new", "--yes")
    daemon.good("pool", "import", path)
    points.point(any(pool["name"] == "new" for pool in daemon.json("pool", "list")),
                 "a deleted pool can be imported again")
    daemon.good("pool", "delete", "new", "--yes")


def usage_of_daemon(points, daemon):
    second = tool(os.path.join(BUILD, "granaryd"), "--state", daemon.state, "--bind", "127.0.0.1",
                  "--iscsi-port", "0")
    points.point(second.returncode == 1 and str(daemon.process.pid) in second.stderr and
                 len(second.stderr.splitlines()) == 1, "a second daemon is refused, with the pid",
                 second.stderr)
    with tempfile.TemporaryDirectory() as other:
        taken = tool(os.path.join(BUILD, "granaryd"), "--state", other, "--bind", "127.0.0.1",
                     "--iscsi-port", str(daemon.port))
        points.point(taken.returncode == 1 and str(daemon.port) in taken.stderr,
                     "a port in use is said", taken.stderr)
        nowhere = tool(os.path.join(BUILD, "granaryd"), "--state", other, "--bind", "203.0.113.9",
                       "--iscsi-port", "0")
        points.point(nowhere.returncode == 1 and "203.0.113.9" in nowhere.stderr,
                     "an address that is not ours is said", nowhere.stderr)
        for words in (("--fly",), ("--iscsi-port", "x"), ("--io-engine", "x"), ("--io-loops", "0"),
                      ("extra",), ("--state",)):
            wrong = tool(os.path.join(BUILD, "granaryd"), "--state", other, *words)
            points.point(wrong.returncode == 2 and len(wrong.stderr.splitlines()) == 1,
                         f"granaryd {' '.join(words)}: usage", wrong.stderr)
    for words in (("--help",), ("--version",)):
        points.point(tool(os.path.join(BUILD, "granaryd"), *words).returncode == 0,
                     f"granaryd {words[0]}")


def write_pattern(daemon, value, lun=0):
    return tool("qemu-io", "-f", "raw", daemon.url(lun), "-c", f"write -P {value} 0 4M", "-c",
                "flush")


def pattern_there(daemon, value, lun=0):
    result = tool("qemu-io", "-f", "raw", daemon.url(lun), "-c", f"read -P {value} 0 4M")
    return result.returncode == 0 and "verification failed" not in result.stdout + result.stderr


def copy_offsets(size):
    """Where the four superblock copies are."""
    tail = size - AREA
    return [COPIES[0], COPIES[1], tail + COPIES[0], tail + COPIES[1]]


def damage(path, offset):
    """Flips one bit of a superblock copy that is whole; one that is not stays as it is."""
    with open(path, "r+b") as file:
        file.seek(offset)
        block = bytearray(file.read(SUPERBLOCK))
        stored = struct.unpack_from("<I", block, CRC_AT)[0]
        struct.pack_into("<I", block, CRC_AT, 0)
        if crc32c(block) == stored:
            file.seek(offset + 40)
            file.write(bytes([block[40] ^ 0x10]))


def find_copies(path):
    """Offsets that really carry a label, so that a change of layout can not make this test
    damage nothing."""
    found = []
    with open(path, "rb") as file:
        for offset in copy_offsets(os.path.getsize(path)):
            file.seek(offset)
            if file.read(8) == b"GRANARYP":
                found.append(offset)
    return found


def damaged(points, daemon, folder, naa):
    """Superblock copies lost one after the other; a second pool serves all along."""
    path = os.path.join(folder, "tank.pool")
    spare = os.path.join(folder, "spare.pool")
    daemon.good("pool", "create", "spare", f"{spare}:256M")
    daemon.good("volume", "create", "spare/other", "64M")
    daemon.good("lun", "map", IQN, "spare/other", "--lun", "9")
    points.point(write_pattern(daemon, 0x5A).returncode == 0, "a pattern is written")
    sound_stop(points, daemon, "after the pattern")
    copies = find_copies(path)
    points.point(len(copies) == 4, "the pool has four superblock copies", copies)
    for count in (1, 2, 3):
        damage(path, copies[count - 1])
        daemon.start()
        tank = next(p for p in daemon.json("pool", "list") if p["name"] == "tank")
        points.point(tank["state"] == "online" and pattern_there(daemon, 0x5A) and
                     daemon.json("volume", "show", "tank/one")["naa"] == naa,
                     f"served with superblock copy {count - 1} bit-flipped", tank)
        daemon.stop()
    with open(path, "rb") as file:
        whole = [(file.seek(at), file.read(SUPERBLOCK))[1] for at in copies]
    for offset in copies:
        damage(path, offset)
    daemon.start()
    found = {p["name"]: p for p in daemon.json("pool", "list")}
    points.point(found["tank"]["state"] == "unavailable" and found["tank"]["reason"],
                 "all copies damaged: unavailable, with a reason", found["tank"])
    points.note(f"reason: {found['tank']['reason']}")
    points.point(found["spare"]["state"] == "online" and write_pattern(daemon, 0x33, 9).returncode
                 == 0, "the other pool serves on")
    luns = {lun["lun"]: lun for lun in daemon.json("lun", "list", IQN)}
    points.point(luns[0]["state"] == "unavailable" and "tank" in luns[0]["reason"] and
                 luns[9]["state"] == "online", "its LUNs say why they are away", luns)
    refused(points, daemon, "not available", "volume", "create", "tank/more", "1G")
    daemon.stop()
    newer(points, daemon, path, copies, whole)
    truncated(points, daemon, path)
    with open(path, "r+b") as file:
        for offset, block in zip(copies, whole):
            file.seek(offset)
            file.write(block)
    daemon.start()
    points.point(pattern_there(daemon, 0x5A), "with its superblocks back the pool has its data")


def crc32c(data):
    table = []
    for index in range(256):
        crc = index
        for _ in range(8):
            crc = crc >> 1 ^ (0x82F63B78 if crc & 1 else 0)
        table.append(crc)
    crc = 0xFFFFFFFF
    for byte in data:
        crc = crc >> 8 ^ table[(crc ^ byte) & 0xFF]
    return crc ^ 0xFFFFFFFF


def newer(points, daemon, path, copies, whole):
    """The same superblocks from a program that is one format version ahead."""
    with open(path, "r+b") as file:
        for offset, block in zip(copies, whole):
            block = bytearray(block)
            if block[:8] != b"GRANARYP" or struct.unpack_from("<I", block, VERSION_AT)[0] != 1:
                continue
            struct.pack_into("<I", block, VERSION_AT, 99)
            struct.pack_into("<I", block, CRC_AT, 0)
            struct.pack_into("<I", block, CRC_AT, crc32c(block))
            file.seek(offset)
            file.write(block)
    daemon.start()
    tank = next(p for p in daemon.json("pool", "list") if p["name"] == "tank")
    points.point(tank["state"] == "unavailable" and "format 99" in tank["reason"],
                 "a pool of a newer format is refused as that", tank)
    daemon.stop()


def truncated(points, daemon, path):
    """A copy cut short is no pool; the original is not touched by the attempt."""
    short = path + ".short"
    with open(path, "rb") as source, open(short, "wb") as target:
        target.write(source.read(100 << 10))
    daemon.start()
    refused(points, daemon, "short", "pool", "import", short)
    daemon.stop()


def restart(points, daemon, naa):
    rules = daemon.json("target", "rules", IQN)
    sound_stop(points, daemon, "after all the refusals")
    points.point(not os.path.exists(os.path.join(daemon.state, "control.sock")),
                 "it takes its socket with it")
    daemon.start()
    points.point(daemon.json("volume", "show", "tank/one")["naa"] == naa and
                 daemon.json("volume", "show", "tank/one")["size_bytes"] == 12 << 30 and
                 [(lun["lun"], lun["state"]) for lun in daemon.json("lun", "list", IQN)] ==
                 [(0, "online"), (7, "online")] and daemon.json("target", "rules", IQN) == rules,
                 "the next start finds everything again")
    daemon.stop(signal.SIGKILL)
    daemon.start()
    points.point(daemon.json("volume", "show", "tank/one")["naa"] == naa and
                 daemon.json("target", "rules", IQN) == rules, "also after kill -9")
    modes = [os.stat(os.path.join(daemon.state, name)).st_mode & 0o777
             for name in ("config.db", "control.sock")]
    points.point(modes == [0o600, 0o600], "configuration and socket are private", modes)
    daemon.stop(signal.SIGKILL)
    # As the kernel does with one that was killed, when it is late.
    path = os.path.join(daemon.state, "control.sock")
    os.unlink(path)
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as dying:
        dying.bind(path)
        dying.listen()
        end = threading.Timer(0.5, lambda: dying.shutdown(socket.SHUT_RDWR))
        end.start()
        daemon.start()
        end.join()
    points.point(daemon.json("volume", "show", "tank/one")["naa"] == naa,
                 "and when its socket is listened on for a moment yet")


def taking_away(points, daemon):
    daemon.good("lun", "unmap", IQN, "7")
    daemon.good("volume", "delete", "tank/second", "--yes")
    daemon.good("target", "delete", IQN, "--yes")
    points.point(daemon.json("target", "list") == [] and
                 [v["name"] for v in daemon.json("volume", "list")] == ["other", "one"],
                 "a deleted target leaves the volumes")
    check = daemon.json("pool", "check", "tank", "--data")
    points.point(check["clean"] and check["errors"] == 0, "pool check --data is clean", check)
    daemon.good("volume", "delete", "tank/one", "--yes")
    daemon.good("pool", "delete", "tank", "--yes")
    points.point([p["name"] for p in daemon.json("pool", "list")] == ["spare"],
                 "an empty pool can be deleted")


@contextlib.contextmanager
def small_disk(folder, name, size):
    """A tmpfs of @size; None when this user may not mount."""
    path = os.path.join(folder, name)
    os.makedirs(path)
    mounted = tool("mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", path).returncode == 0
    try:
        yield path if mounted else None
    finally:
        if mounted:
            tool("umount", "-l", path)


def full_disk(points, daemon, folder):
    """The disk under a pool file fills up: writes fail, what was written stays."""
    with small_disk(folder, "small", 160 * MIB) as path:
        if not path:
            points.point(True, "full disk under a pool file # SKIP mounting is not allowed here")
            return
        daemon.good("pool", "create", "small", f"{path}/small.pool:4G")
        daemon.good("volume", "create", "small/v", "2G")
        daemon.good("target", "create", IQN)
        daemon.good("target", "allow", IQN, "--network", "127.0.0.0/8")
        daemon.good("lun", "map", IQN, "small/v")
        points.point(write_pattern(daemon, 0x77).returncode == 0, "the first 4 MiB fit")
        full = tool("qemu-io", "-f", "raw", daemon.url(), "-c", "write -P 1 16M 400M")
        points.point("rror" in full.stdout + full.stderr or "ailed" in full.stdout + full.stderr,
                     "on a full disk a write fails and says so", full.stdout + full.stderr)
        points.point(daemon.run("status").returncode == 0 and pattern_there(daemon, 0x77),
                     "the daemon serves on, what was written reads back")
        daemon.stop()
        daemon.start()
        small = next(p for p in daemon.json("pool", "list") if p["name"] == "small")
        points.note(f"after a restart on the full disk: {small['state']} {small['reason']}")
        daemon.stop()
        tool("mount", "-o", "remount,size=1g", path)
        daemon.start()
        points.point(pattern_there(daemon, 0x77) and write_pattern(daemon, 0x78).returncode == 0
                     and pattern_there(daemon, 0x78), "with room again nothing is lost")
        daemon.stop()


def fill(path):
    """A file that takes what is left of the file system."""
    with contextlib.suppress(OSError), open(path, "wb", 0) as file:
        while file.write(b"x" * 4096):
            pass


def full_state(points, folder):
    """The disk under the state directory is full, at the start and later."""
    with small_disk(folder, "tiny", 640 << 10) as path:
        if not path:
            points.point(True, "full disk under the state # SKIP mounting is not allowed here")
            return
        os.makedirs(path + "/state")
        fill(path + "/filler")
        full = tool(os.path.join(BUILD, "granaryd"), "--state", path + "/state", "--bind",
                    "127.0.0.1", "--iscsi-port", "0")
        points.point(full.returncode == 1 and "space" in full.stderr.lower() and
                     len(full.stderr.splitlines()) == 1,
                     "a start on a full disk says so", full.stderr)
        os.unlink(path + "/filler")
        daemon = Daemon(path + "/state")
        try:
            daemon.good("target", "create", IQN)
            fill(path + "/filler")
            for number in range(200):  # sqlite may have some room of its own
                result = daemon.run("target", "create", f"{IQN}{number}")
                if result.returncode:
                    break
            points.point(result.returncode == 1 and "space" in result.stderr.lower() and
                         len(result.stderr.splitlines()) == 1,
                         "a change on a full disk says so", result.stderr)
            before = daemon.json("target", "list")
            points.point(before[0]["iqn"] == IQN and
                         all(target["iqn"] != f"{IQN}{number}" for target in before),
                         "and is taken back whole")
            os.unlink(path + "/filler")
            daemon.good("target", "create", f"{IQN}{number}")
            daemon.stop()
            daemon.start()
            points.point(len(daemon.json("target", "list")) == len(before) + 1,
                         "with room again it goes through, nothing is lost")
        finally:
            daemon.stop()


def portmapper(folder):
    """In a network namespace: port 111 is another's while the daemon starts, and free a moment later.
    Exit status 0: it is the daemon's then."""
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
    other = socket.create_server(("127.0.0.1", 111))
    daemon = subprocess.Popen([os.path.join(BUILD, "granaryd"), "--state", folder, "--bind",
                               "127.0.0.1", "--nfs-port", "2049"], stdin=subprocess.DEVNULL,
                              stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    try:
        while not daemon.stdout.readline().startswith("READY"):
            if daemon.poll() is not None:
                return 2
        other.close()
        for _ in range(100):
            with socket.socket() as mine:
                if mine.connect_ex(("127.0.0.1", 111)) == 0:
                    return 0
            time.sleep(0.05)
        return 1
    finally:
        daemon.terminate()
        daemon.wait(60)


def late_portmapper(points, folder):
    state = os.path.join(folder, "portmap")
    result = tool("unshare", "--net", sys.executable, os.path.abspath(__file__), "--portmapper", state)
    points.point(result.returncode == 0, "port 111, held by another a moment longer, is taken then",
                 f"{result.returncode} {result.stderr}")


def completed(*words):
    """What bash offers behind these words, the last one begun."""
    script = ('source cli/completion/granary.bash; COMP_WORDS=(granary "$@"); '
              'COMP_CWORD=$#; COMPREPLY=(); _granary; echo "${COMPREPLY[*]}"')
    done = subprocess.run(["bash", "-c", script, "bash", *words], cwd=os.path.dirname(
        os.path.dirname(HERE)), stdin=subprocess.DEVNULL, capture_output=True, text=True,
        timeout=60, check=True)
    return done.stdout.split()


def completion(points):
    words = completed("snapshot", "sch"), completed("snapshot", "schedule", "")
    points.point(words == (["schedule"], ["create", "set", "list", "show", "run", "delete"]),
                 "completion of verbs of two words", words)
    options = completed("snapshot", "schedule", "create", "--")
    points.point("--every" in options and "--keep" in options and
                 "--checksum" in completed("volume", "create", "--"), "and of their options",
                 options)


def test(points):
    with tempfile.TemporaryDirectory() as folder:
        daemon = Daemon(os.path.join(folder, "state"))
        try:
            naa = life(points, daemon, folder)
            access(points, daemon, folder)
            bad_input(points, daemon, folder)
            foreign_files(points, daemon, folder)
            usage_of_daemon(points, daemon)
            completion(points)
            restart(points, daemon, naa)
            damaged(points, daemon, folder, naa)
            taking_away(points, daemon)
            sound_stop(points, daemon, "after taking away")
            daemon.start()
            full_disk(points, daemon, folder)
            full_state(points, folder)
            late_portmapper(points, folder)
        finally:
            daemon.stop()


if __name__ == "__main__":
    if sys.argv[1:2] == ["--portmapper"]:
        sys.exit(portmapper(sys.argv[2]))
    tap.run(test)
