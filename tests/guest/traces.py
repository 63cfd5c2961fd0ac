# SPDX-License-Identifier: Apache-2.0
"""What a guest does to its LUNs, recorded, and what must be in them after a power loss.

Recorder stands between an initiator and the target, passes every iSCSI PDU on unchanged and writes
down the commands that change a medium, with their data, and their acknowledgements, in the order in
which they went by (tests/sim/trace.h). Writes to LUN 0 are marks: text by which the guest says what
it was promised. Whatever it can not write down it keeps as .problem, for a trace with a hole in it
proves nothing.

look(): the promises of the marks against an image; Damage says which one was broken."""

import os
import re
import socket
import sqlite3
import struct
import subprocess
import threading

import postgres

MARKS_LUN = 0
BLOCK = 512
READS_ONLY = {0x00, 0x03, 0x08, 0x12, 0x1A, 0x1B, 0x1E, 0x25, 0x28, 0x2F, 0x4D, 0x5A, 0x5E, 0x88,
              0x8F, 0x9E, 0xA0, 0xA3, 0xA8, 0xAF}
# operation code: where LBA and number of blocks are
WRITES = {0x2A: (2, 4, 7, 2), 0x2E: (2, 4, 7, 2), 0xAA: (2, 4, 6, 4), 0xAE: (2, 4, 6, 4),
          0x8A: (2, 8, 10, 4), 0x8E: (2, 8, 10, 4)}
WRITE_SAMES = {0x41: (2, 4, 7, 2), 0x93: (2, 8, 10, 4)}
UNMAP = 0x42
FLUSHES = (0x35, 0x91)
FUA = 1


class Damage(Exception):
    """Something that was promised is not there."""


class Task:
    """A command that changes the medium, until it is acknowledged."""

    def __init__(self, lun, cdb, expected):
        self.lun, self.cdb = lun, cdb
        self.data = bytearray(expected)
        self.missing = expected
        self.ids = []


def receive(connection, length):
    data = bytearray(length)
    view, at = memoryview(data), 0
    while at < length:
        got = connection.recv_into(view[at:])
        if got == 0:
            raise EOFError
        at += got
    return data


class Recorder:
    """Listens on @address; forwards to @target, an (address, port). @sizes: names and bytes of LUN
    1, 2, .. in their order, the trace's volumes."""

    def __init__(self, path, address, target, volumes):
        self.target = target
        self.volumes = len(volumes)
        self.problem = None
        self.counts = {}
        self.bytes = 0
        self.next_id = 0
        self.lock = threading.Lock()
        self.file = open(path, "wb", buffering=1 << 20)
        self.file.write(b"GRTRACE1" + struct.pack("<II", len(volumes), 0))
        for name, size in volumes:
            self.file.write(struct.pack("<Q16s", size, name.encode()))
        self.listener = socket.socket()
        self.listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.listener.bind((address, 0))
        self.listener.listen()
        self.port = self.listener.getsockname()[1]
        threading.Thread(target=self.accept, daemon=True).start()

    def close(self):
        """No more is recorded; the file is whole."""
        self.listener.close()
        with self.lock:
            self.file.close()

    def accept(self):
        while True:
            try:
                guest, _ = self.listener.accept()
            except OSError:
                return
            server = socket.create_connection(self.target)
            tasks = {}
            for connection in (guest, server):
                connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            for source, sink, watch in ((guest, server, self.command),
                                        (server, guest, self.response)):
                threading.Thread(target=self.forward, args=(source, sink, watch, tasks),
                                 daemon=True).start()

    def forward(self, source, sink, watch, tasks):
        """PDUs of one direction (RFC 7143 11.2: header, additional segments, padded data)."""
        try:
            while True:
                header = receive(source, 48)
                length = int.from_bytes(header[5:8], "big")
                rest = receive(source, header[4] * 4 + (length + 3) // 4 * 4)
                watch(header, rest[header[4] * 4:header[4] * 4 + length], tasks)
                sink.sendall(header + rest)
        except (EOFError, OSError):
            pass
        except Exception as error:  # pylint: disable=broad-except
            self.wrong(f"{type(error).__name__}: {error}")
        for connection in (source, sink):
            try:
                connection.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass

    def wrong(self, what):
        self.problem = self.problem or what

    # ---- what the initiator sends ----
    def command(self, header, data, tasks):
        code, tag = header[0] & 0x3F, bytes(header[16:20])
        if code == 0x01:
            self.scsi_command(header, data, tag, tasks)
        elif code == 0x05:
            self.arrived(tasks.get(tag), int.from_bytes(header[40:44], "big"), data)
        elif code == 0x02:
            self.wrong("task management in the recording")

    def scsi_command(self, header, data, tag, tasks):
        cdb = bytes(header[32:48])
        if cdb[0] in READS_ONLY:
            return
        if cdb[0] not in WRITES and cdb[0] not in WRITE_SAMES and cdb[0] != UNMAP \
                and cdb[0] not in FLUSHES:
            self.wrong(f"operation code {cdb[0]:02x}")
            return
        lun = (header[8] & 0x3F) << 8 | header[9]
        expected = int.from_bytes(header[20:24], "big") if header[1] & 0x20 else 0
        tasks[tag] = Task(lun, cdb, expected)
        if expected:
            self.arrived(tasks[tag], 0, data)
        else:
            self.begin(tasks[tag])

    def arrived(self, task, offset, data):
        if task is None:  # of a command that changes nothing, MODE SELECT for one
            return
        task.data[offset:offset + len(data)] = data
        task.missing -= len(data)
        if task.missing == 0:
            self.begin(task)

    def begin(self, task):
        """The target is about to have all of it."""
        code = task.cdb[0]
        if task.lun == MARKS_LUN:
            if code in WRITES:
                self.event("M", 0, payload=bytes(task.data).rstrip(b"\0"))
            return
        volume = task.lun - 1
        if volume >= self.volumes:
            self.wrong(f"LUN {task.lun}")
        elif code in WRITES:
            lba, blocks = self.place(task.cdb, WRITES[code])
            if blocks * BLOCK != len(task.data):
                self.wrong(f"{blocks} blocks, {len(task.data)} bytes")
            if blocks:
                self.event("W", volume, task, FUA if task.cdb[1] & 0x08 else 0, lba * BLOCK,
                           len(task.data), task.data)
        elif code in WRITE_SAMES:
            lba, blocks = self.place(task.cdb, WRITE_SAMES[code])
            data = bytes(task.data) or bytes(BLOCK)
            if task.cdb[1] & 0x08 and not any(data):
                self.event("D", volume, task, 0, lba * BLOCK, blocks * BLOCK)
            else:
                self.event("W", volume, task, 0, lba * BLOCK, blocks * BLOCK, data)
        elif code == UNMAP:
            for at in range(8, len(task.data) - 15, 16):
                lba, blocks = struct.unpack_from(">QI", task.data, at)
                if blocks:
                    self.event("D", volume, task, 0, lba * BLOCK, blocks * BLOCK)
        else:
            self.event("F", volume, task)

    @staticmethod
    def place(cdb, where):
        lba, lba_size, blocks, blocks_size = where
        return (int.from_bytes(cdb[lba:lba + lba_size], "big"),
                int.from_bytes(cdb[blocks:blocks + blocks_size], "big"))

    # ---- what the target answers ----
    def response(self, header, data, tasks):
        code = header[0] & 0x3F
        if code == 0x23 and b"Digest=CRC32C" in data:
            self.wrong("digests, which the recorder does not make anew")
        if code != 0x21:
            return
        task = tasks.pop(bytes(header[16:20]), None)
        if task is None:
            return
        if header[2] & 0x7F or header[3]:
            self.wrong(f"operation code {task.cdb[0]:02x} ended with status {header[3]:02x}")
        for number in task.ids:
            self.event("A", task.lun - 1, number=number)

    def event(self, kind, volume, task=None, flags=0, offset=0, length=0, payload=b"", number=0):
        with self.lock:
            if task is not None:
                number, self.next_id = self.next_id, self.next_id + 1
                task.ids.append(number)
            self.counts[kind] = self.counts.get(kind, 0) + 1
            if flags & FUA:
                self.counts["FUA"] = self.counts.get("FUA", 0) + 1
            self.bytes += len(payload)
            self.file.write(struct.pack("<cBHIQII", kind.encode(), volume, flags, number, offset,
                                        length, len(payload)))
            self.file.write(payload)


def marks_of(path):
    """All marks of a trace, as words, in order."""
    with open(path, "rb") as file:
        trace = file.read()
    at, marks = 16 + 24 * struct.unpack_from("<I", trace, 8)[0], []
    while at < len(trace):
        kind, payload = trace[at:at + 1], struct.unpack_from("<I", trace, at + 20)[0]
        if kind == b"M":
            marks.append(trace[at + 24:at + 24 + payload].decode().split())
        at += 24 + payload
    return marks


# ---- what must be there ----
class Mounted:
    """@image, mounted by this machine's kernel, which replays its log; a Damage when it can not."""

    def __init__(self, image, kind, folder):
        self.image, self.kind, self.folder = image, kind, folder

    def __enter__(self):
        os.makedirs(self.folder, exist_ok=True)
        done = subprocess.run(["mount", "-t", self.kind, "-o", "loop", self.image, self.folder],
                              capture_output=True, text=True)
        if done.returncode:
            raise Damage(f"{self.kind} does not mount: {done.stderr.strip()}")
        return self.folder

    def __exit__(self, *_):
        subprocess.run(["umount", self.folder], check=True, capture_output=True)


CHECKERS = {"ext4": ("e2fsck", "-fn"), "xfs": ("xfs_repair", "-n")}


def look(image, kind, name, marks, folder):
    """An image with a file system of @kind against what the marks of @name promise. The log is
    replayed by mounting it; then the checker must have nothing to say. How many transactions
    PostgreSQL had to have."""
    mine = [words[1:] for words in marks if words and words[0] == name]
    with Mounted(image, kind, folder) as top:
        try:
            look_at_files(top, mine)
            look_at_packages(top, [words[1] for words in mine if words[0] == "package"])
            look_at_databases(top, mine)
            transactions = postgres.look(top, mine)
        except postgres.Broken as broken:
            raise Damage(f"{name}: {broken}") from None
        except (OSError, UnicodeError) as error:  # a file is away, or can not be read
            raise Damage(f"{name}: {error}") from None
    done = subprocess.run([*CHECKERS[kind], image], stdin=subprocess.DEVNULL,
                          capture_output=True, text=True)
    if done.returncode:
        raise Damage(f"{' '.join(CHECKERS[kind])} {name}: status {done.returncode}\n"
                     + (done.stdout + done.stderr)[-2000:])
    return transactions


def read_put(top, key):
    """The version of put.@key; 0: there is none."""
    try:
        with open(os.path.join(top, f"put.{key}"), encoding="ascii", errors="replace") as file:
            lines = file.read().split("\n")
    except FileNotFoundError:
        return 0
    try:
        named, version, count = map(int, lines[0].split())
    except ValueError:
        raise Damage(f"put.{key} begins with {lines[0][:60]!r}") from None
    wanted = [f"{key} {version} {number}" for number in range(count)] + [""]
    if named != key or lines[1:] != wanted:
        raise Damage(f"put.{key} version {version} is not whole")
    return version


def look_at_files(top, marks):
    promised, records = {}, 0
    for words in marks:
        if words[0] in ("put", "drop", "gone"):
            key, version = int(words[1]), int(words[2])
            before = promised.get(key, ("gone", 0, 0))
            # What was there stays in force while it is only about to be dropped.
            promised[key] = (words[0], version, before[1] if words[0] == "drop" else version)
        elif words[0] == "log":
            records = int(words[1])
    for key, (what, version, synced) in promised.items():
        found = read_put(top, key)
        if what == "gone" and 0 < found <= version:
            raise Damage(f"put.{key}: version {found} is back, dropped as {version}")
        if what == "put" and found < synced or what == "drop" and 0 < found < synced:
            raise Damage(f"put.{key}: version {synced} was synced, {found or 'nothing'} is there")
    if records:
        with open(os.path.join(top, "log"), "rb") as file:
            for number in range(records):
                record = file.read(64)
                if record != b"%08d" % number + bytes([97 + number % 26]) * 55 + b"\n":
                    raise Damage(f"log: record {number} of {records} is {record[:20]!r}")


def look_at_packages(top, packages):
    if not packages:
        return
    with open(os.path.join(top, "var/lib/dpkg/status"), encoding="utf-8") as file:
        known = dict(re.findall(r"^Package: (\S+)\nStatus: (.*)$", file.read(), re.M))
    for package in packages:
        if known.get(package) != "install ok installed":
            raise Damage(f"package {package}: {known.get(package)}")
    done = subprocess.run(["dpkg", f"--root={top}", "--verify", *packages], capture_output=True,
                          text=True)
    if done.returncode or done.stdout:
        raise Damage(f"dpkg --verify: {done.stdout}{done.stderr}")


def look_at_databases(top, marks):
    committed = {}
    for words in marks:
        if words[0] == "txn":
            committed[words[1]] = int(words[2])
    for letter, number in committed.items():
        try:
            look_at_database(os.path.join(top, f"{letter}.db"), number)
        except sqlite3.Error as error:
            raise Damage(f"{letter}.db: {error}") from None


def look_at_database(path, committed):
    """See tests/guest/trace_load.c."""
    if not os.path.exists(path):
        raise Damage(f"{path} is away")
    database = sqlite3.connect(path)
    try:
        verdict = database.execute("PRAGMA integrity_check").fetchall()
        if verdict != [("ok",)]:
            raise Damage(f"{path}: integrity_check: {verdict[:5]}")
        done = database.execute("SELECT n FROM done").fetchone()[0]
        money = database.execute("SELECT sum(money), count(*) FROM account").fetchone()
        rows = database.execute("SELECT txn, part, body FROM part ORDER BY txn, part").fetchall()
    finally:
        database.close()
    if done < committed:
        raise Damage(f"{path}: transaction {committed} was committed, {done} is the last one")
    if money != (20000, 20):
        raise Damage(f"{path}: {money[0]} on {money[1]} accounts")
    if rows != [(number, part, f"{number}.{part}:" + "x" * max(1, (number * 37 + part * 11) % 900))
                for number in range(max(1, done - 59), done + 1) for part in range(number % 5 + 1)]:
        raise Damage(f"{path}: not the rows of transactions up to {done}")
