#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
# granary-test: timeout=120 engines=one asan
"""A share and a snapshot mounted on this machine: every kind of operation, random ones against a
model, several programs at once, who may do what; and how a mount ends: unmounted, with the daemon,
with the daemon killed, with its own processes killed."""

import ctypes
import errno
import fcntl
import mmap
import os
import random
import re
import signal
import socket
import stat
import subprocess
import sys
import tempfile
import time

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, HERE)
sys.path.insert(0, os.path.join(os.path.dirname(HERE), "guest"))

import nfs4_delegation_test as delegation  # pylint: disable=wrong-import-position
import server as daemon  # pylint: disable=wrong-import-position
import tap               # pylint: disable=wrong-import-position

SHARE = "tank/files"
BLOCK = 4096
PUNCH, KEEP_SIZE = 2, 1
NOREPLACE = 1
SEED = int(os.environ.get("GRANARY_TEST_SEED", "20261121"))
ROUNDS = int(os.environ.get("GRANARY_TEST_ROUNDS", "1"))
LIBC = ctypes.CDLL(None, use_errno=True)


def libc(function, *arguments):
    """0, or the error's number."""
    return 0 if getattr(LIBC, function)(*arguments) == 0 else ctypes.get_errno()


def fallocate(fd, mode, offset, length):
    return libc("fallocate", fd, mode, ctypes.c_long(offset), ctypes.c_long(length))


def error_of(function, *arguments):
    """The number of the error that the call ends with, 0: none."""
    try:
        function(*arguments)
    except OSError as error:
        return error.errno
    return 0


def put(path, data):
    with open(path, "wb") as file:
        file.write(data)


def get(path):
    with open(path, "rb") as file:
        return file.read()


def mounts(folder):
    """The mounts of ours below @folder."""
    with open("/proc/self/mountinfo", encoding="utf-8") as file:
        return [line.split()[4] for line in file
                if " - fuse.granary " in line and line.split()[4].startswith(folder)]


def wait_for(what, seconds=60):
    limit = time.monotonic() + seconds
    while not (found := what()) and time.monotonic() < limit:
        time.sleep(0.02)
    return found


def processes(folder):
    """Pids of the mount programs with @folder in their arguments, the keeper first."""
    found = []
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open(f"/proc/{pid}/cmdline", "rb") as file:
                words = file.read().split(b"\0")
        except OSError:
            continue
        if words[0].endswith(b"granary-mount") and folder.encode() in b" ".join(words):
            found.append(int(pid))
    return sorted(found)


# ---- each operation

def names(points, top):
    put(f"{top}/a", b"hello")
    os.link(f"{top}/a", f"{top}/b")
    same = os.stat(f"{top}/a")
    points.point(same.st_ino == os.stat(f"{top}/b").st_ino and same.st_nlink == 2, "a hard link")
    os.symlink("a/long/way", f"{top}/link")
    points.point(os.readlink(f"{top}/link") == "a/long/way", "a symbolic link")
    points.point(error_of(os.symlink, "x" * 4096, f"{top}/l2") == errno.ENAMETOOLONG,
                 "a target that is too long")
    points.point(error_of(open, f"{top}/{'n' * 256}", "w") == errno.ENAMETOOLONG,
                 "a name that is too long")
    os.mkdir(f"{top}/d", 0o750)
    points.point(stat.S_IMODE(os.stat(f"{top}/d").st_mode) == 0o750 & ~0o022, "a directory")
    os.rename(f"{top}/b", f"{top}/d/b")
    points.point(os.listdir(f"{top}/d") == ["b"] and get(f"{top}/d/b") == b"hello", "renamed")
    points.point(error_of(os.rmdir, f"{top}/d") == errno.ENOTEMPTY
                 and error_of(os.unlink, f"{top}/d") in (errno.EISDIR, errno.EPERM)
                 and error_of(os.rmdir, f"{top}/a") == errno.ENOTDIR, "what is refused")
    put(f"{top}/over", b"new")
    os.rename(f"{top}/over", f"{top}/d/b")
    points.point(get(f"{top}/d/b") == b"new" and os.stat(f"{top}/a").st_nlink == 1,
                 "one name replaces another")
    result = libc("renameat2", -100, f"{top}/a".encode(), -100, f"{top}/d/b".encode(), NOREPLACE)
    points.point(result == errno.EEXIST and get(f"{top}/d/b") == b"new", "or is told not to")
    points.point(error_of(os.open, f"{top}/a", os.O_CREAT | os.O_EXCL) == errno.EEXIST, "O_EXCL")
    os.mkfifo(f"{top}/fifo")
    os.mknod(f"{top}/device", 0o600 | stat.S_IFBLK, os.makedev(7, 9))
    device = os.stat(f"{top}/device")
    points.point(stat.S_ISFIFO(os.stat(f"{top}/fifo").st_mode) and stat.S_ISBLK(device.st_mode)
                 and device.st_rdev == os.makedev(7, 9), "a fifo, a device node")


def attributes(points, top):
    path = f"{top}/attr"
    put(path, b"x" * 10)
    os.chmod(path, 0o4751)
    os.chown(path, 12, 34)
    os.utime(path, ns=(1_500_000_000_123_456_789, -5_000_000_001))
    seen = os.stat(path)
    points.point(stat.S_IMODE(seen.st_mode) in (0o4751, 0o751) and (seen.st_uid, seen.st_gid)
                 == (12, 34), "mode and owner", oct(seen.st_mode))
    points.point(seen.st_atime_ns == 1_500_000_000_123_456_789
                 and seen.st_mtime_ns == -5_000_000_001, "times to the nanosecond")
    os.truncate(path, 5 * BLOCK + 1)
    seen = os.stat(path)
    points.point(seen.st_size == 5 * BLOCK + 1 and seen.st_blocks * 512 <= 2 * BLOCK
                 and get(path) == b"x" * 10 + bytes(5 * BLOCK - 9), "a size with a hole in it")
    space = os.statvfs(top)
    points.point(space.f_blocks > space.f_bavail > 0 and space.f_namemax == 255, "statfs")


def extended(points, top):
    path = f"{top}/xattr"
    put(path, b"")
    os.setxattr(path, "user.one", b"1" * 1000)
    os.setxattr(path, "user.two", b"")
    points.point(sorted(os.listxattr(path)) == ["user.one", "user.two"]
                 and os.getxattr(path, "user.one") == b"1" * 1000
                 and os.getxattr(path, "user.two") == b"", "extended attributes")
    points.point(error_of(os.setxattr, path, "user.one", b"", os.XATTR_CREATE) == errno.EEXIST
                 and error_of(os.setxattr, path, "user.3", b"", os.XATTR_REPLACE) == errno.ENODATA
                 and error_of(os.setxattr, path, "trusted.x", b"") == errno.EOPNOTSUPP,
                 "created, replaced, of other kinds")
    os.removexattr(path, "user.one")
    for number in range(200):
        os.setxattr(path, f"user.{number:03}{'y' * 100}", b"v")
    points.point(error_of(os.getxattr, path, "user.one") == errno.ENODATA
                 and len(os.listxattr(path)) == 201, "removed; many of them")


def sparse(points, top):
    with open(f"{top}/sparse", "wb+", buffering=0) as file:
        fd = file.fileno()
        os.pwrite(fd, b"A" * BLOCK, 8 * BLOCK)
        os.pwrite(fd, b"B" * 4 * BLOCK, 100 * BLOCK)
        points.point([os.lseek(fd, 0, os.SEEK_DATA), os.lseek(fd, 8 * BLOCK, os.SEEK_HOLE),
                      os.lseek(fd, 9 * BLOCK, os.SEEK_DATA),
                      os.lseek(fd, 100 * BLOCK, os.SEEK_HOLE)]
                     == [8 * BLOCK, 9 * BLOCK, 100 * BLOCK, 104 * BLOCK], "holes are exact")
        points.point(error_of(os.lseek, fd, 104 * BLOCK, os.SEEK_DATA) == errno.ENXIO,
                     "nothing behind the end")
        result = fallocate(fd, PUNCH | KEEP_SIZE, 101 * BLOCK, 2 * BLOCK)
        points.point(result == 0 and os.lseek(fd, 100 * BLOCK, os.SEEK_HOLE) == 101 * BLOCK
                     and os.pread(fd, 4 * BLOCK, 100 * BLOCK)
                     == b"B" * BLOCK + bytes(2 * BLOCK) + b"B" * BLOCK, "a hole is punched")
        before = os.fstat(fd).st_blocks
        points.point(fallocate(fd, 0, 200 * BLOCK, 50 * BLOCK) == 0
                     and os.fstat(fd).st_size == 250 * BLOCK
                     and os.fstat(fd).st_blocks >= before + 50 * 8, "space is set aside")
        points.point(fallocate(fd, 16, 0, BLOCK) == errno.EOPNOTSUPP, "ZERO_RANGE is not there")
        with open(f"{top}/copy", "wb+", buffering=0) as other:
            done = os.copy_file_range(fd, other.fileno(), 9 * BLOCK, 8 * BLOCK, 0)
            points.point(done == 9 * BLOCK and get(f"{top}/copy") == b"A" * BLOCK
                         + bytes(8 * BLOCK), "copy_file_range")
            done = os.copy_file_range(fd, other.fileno(), 100, 8 * BLOCK + 1, 7)
            points.point(done == 100 and get(f"{top}/copy")[7:107] == b"A" * 100,
                         "also of odd ranges")


def open_files(points, top):
    path = f"{top}/open"
    with open(path, "wb+", buffering=0) as file:
        file.write(b"here")
        os.unlink(path)
        points.point(not os.path.exists(path) and os.pread(file.fileno(), 10, 0) == b"here"
                     and os.fstat(file.fileno()).st_nlink == 0, "removed while it is open")
        os.pwrite(file.fileno(), b"more", 4)
        os.fsync(file.fileno())
        points.point(os.pread(file.fileno(), 10, 0) == b"heremore", "and still written to")
    put(path, bytes(3 * BLOCK))
    with open(path, "rb+") as file, mmap.mmap(file.fileno(), 0) as memory:
        memory[100:105] = b"share"
        memory.flush()
        points.point(get(path)[98:107] == b"\0\0share\0\0", "a shared mapping")
    with open(path, "ab", buffering=0) as one, open(path, "ab", buffering=0) as two:
        one.write(b"1")
        two.write(b"2")
        one.write(b"3")
    points.point(get(path)[3 * BLOCK:] == b"123", "O_APPEND")
    fd = os.open(path, os.O_WRONLY | os.O_TRUNC | os.O_SYNC)
    os.write(fd, b"short")
    os.close(fd)
    points.point(get(path) == b"short", "O_TRUNC, O_SYNC")
    fd = os.open(path, os.O_RDWR | os.O_DIRECT)
    area = mmap.mmap(-1, BLOCK)
    area[:] = b"D" * BLOCK
    os.pwritev(fd, [area], 0)
    os.close(fd)
    points.point(get(path) == b"D" * BLOCK, "O_DIRECT")
    with open(path, "rb") as one, open(path, "rb") as two:
        fcntl.flock(one, fcntl.LOCK_EX)
        points.point(error_of(fcntl.flock, two, fcntl.LOCK_EX | fcntl.LOCK_NB) == errno.EWOULDBLOCK,
                     "locks hold among this machine's programs")


def many(points, top):
    os.mkdir(f"{top}/many")
    wanted = {f"file-{number:05}-{'z' * (number % 90)}" for number in range(700)}
    for name in wanted:
        put(f"{top}/many/{name}", b"")
    points.point(set(os.listdir(f"{top}/many")) == wanted, "700 names are listed once each")
    seen = []
    with os.scandir(f"{top}/many") as entries:
        for number, entry in enumerate(entries):
            seen.append(entry.name)
            if number % 2:
                os.unlink(f"{top}/many/{entry.name}")
    points.point(len(seen) == len(set(seen)) and set(seen) == wanted,
                 "each is seen once while others go", f"{len(seen)}, {len(wanted - set(seen))}")


def as_user(uid, gid, groups, function, *arguments):
    """Whether somebody else may."""
    pid = os.fork()
    if pid == 0:
        status = 1
        try:
            os.setgroups(groups)
            os.setresgid(gid, gid, gid)
            os.setresuid(uid, uid, uid)
            status = error_of(function, *arguments) != 0
        finally:
            os._exit(status)
    return os.waitpid(pid, 0)[1] == 0


def rights(points, top):
    os.makedirs(f"{top}/r/closed")
    put(f"{top}/r/mine", b"m")
    put(f"{top}/r/group", b"g")
    put(f"{top}/r/closed/in", b"i")
    os.chown(f"{top}/r/mine", 1001, 1001)
    os.chmod(f"{top}/r/mine", 0o600)
    os.chown(f"{top}/r/group", 0, 2002)
    os.chmod(f"{top}/r/group", 0o660)
    os.chmod(f"{top}/r/closed", 0o700)
    os.chmod(f"{top}/r", 0o1777)
    get(f"{top}/r/closed/in")  # the kernel knows the way in now
    points.point(as_user(1001, 1001, [], get, f"{top}/r/mine")
                 and not as_user(1002, 1002, [], get, f"{top}/r/mine"),
                 "the owner reads, others not")
    points.point(as_user(1002, 1002, [2002], put, f"{top}/r/group", b"h")
                 and not as_user(1002, 1002, [], get, f"{top}/r/group"), "a further group counts")
    points.point(not as_user(1001, 1001, [], get, f"{top}/r/closed/in"),
                 "no way through a closed door")
    made = as_user(1001, 1002, [], put, f"{top}/r/new", b"n")
    seen = os.stat(f"{top}/r/new") if made else None
    points.point(made and (seen.st_uid, seen.st_gid) == (1001, 1002), "what he makes is his")
    points.point(not as_user(1002, 1002, [], os.unlink, f"{top}/r/new"), "the sticky bit keeps it")
    points.point(not as_user(1002, 1002, [], os.chmod, f"{top}/r/new", 0o777),
                 "only its owner changes its mode")


# ---- random operations against a model

def exercise_file(points, top, dice):
    """One file, one byte array, and whatever may be done to both."""
    path, model, most = f"{top}/fsx", bytearray(), 512 * 1024
    fd = os.open(path, os.O_RDWR | os.O_CREAT)

    def span():
        offset = dice.randrange(most)
        if dice.random() < 0.3:
            offset -= offset % BLOCK
        return offset, min(most - offset, dice.choice((1, 100, BLOCK, 3 * BLOCK, 70000)))

    def grow(size):
        if len(model) < size:
            model.extend(bytes(size - len(model)))

    def write(offset, length):
        data = dice.randbytes(length)
        os.pwrite(fd, data, offset)
        grow(offset + length)
        model[offset:offset + length] = data

    def punch(offset, length):
        fallocate(fd, PUNCH | KEEP_SIZE, offset, length)
        end = min(offset + length, len(model))
        if offset < end:
            model[offset:end] = bytes(end - offset)

    def allocate(offset, length):
        if fallocate(fd, 0, offset, length) == 0:
            grow(offset + length)

    def cut(offset, _length):
        os.ftruncate(fd, offset)
        del model[offset:]
        grow(offset)

    def mapped(offset, length):
        end = min(offset + length, len(model))
        if offset >= end:
            return
        data = dice.randbytes(end - offset)
        with mmap.mmap(fd, len(model)) as memory:
            memory[offset:end] = data
        model[offset:end] = data

    def copy(offset, length):
        source = dice.randrange(most)
        if dice.random() < 0.5:
            source, offset, length = (n - n % BLOCK for n in (source, offset, length))
        length = min(length, len(model) - source, abs(source - offset))
        if length <= 0:
            return
        done = os.copy_file_range(fd, fd, length, source, offset)
        grow(offset + done)
        model[offset:offset + done] = model[source:source + done]

    def read(offset, length):
        assert os.pread(fd, length, offset) == model[offset:offset + length], (offset, length)

    def sync(_offset, _length):
        os.fsync(fd)

    def again(_offset, _length):
        nonlocal fd
        os.close(fd)
        fd = os.open(path, os.O_RDWR)

    kinds = [write] * 6 + [read] * 6 + [mapped] * 2 + [punch, allocate, cut, copy, copy, sync,
                                                       again]
    for step in range(1200 * ROUNDS):
        kind, where = dice.choice(kinds), span()
        try:
            kind(*where)
            if step % 100 == 99:
                read(0, most)
            assert os.fstat(fd).st_size == len(model), (os.fstat(fd).st_size, len(model))
        except (AssertionError, OSError) as error:
            os.close(fd)
            points.point(False, f"step {step} of the file exerciser: {kind.__name__}{where}", error)
            return
    os.close(fd)
    points.point(get(path) == model, f"{1200 * ROUNDS} random operations on a file")


def tree_of(top):
    found = {}
    for folder, folders, files in os.walk(top):
        for name in folders + files:
            path = os.path.join(folder, name)
            seen = os.lstat(path)
            key = os.path.relpath(path, top)
            if stat.S_ISLNK(seen.st_mode):
                found[key] = ("link", os.readlink(path))
            elif stat.S_ISDIR(seen.st_mode):
                found[key] = ("dir",)
            else:
                found[key] = ("file", get(path), seen.st_nlink)
    return found


class Tree:
    """Random changes of a tree of names, and what must be there after them."""

    def __init__(self, top, dice):
        self.top, self.dice = top, dice
        self.entries = {}  # path: ("dir",), ("link", text), ("file", cell), a cell for all its names

    def path(self, name):
        return os.path.join(self.top, name)

    def folder(self):
        folders = [name for name, entry in self.entries.items() if entry[0] == "dir"]
        return self.dice.choice(folders + [""])

    def fresh(self):
        name = os.path.join(self.folder(), f"n{self.dice.randrange(40)}")
        return name if name not in self.entries else None

    def some(self, kind):
        found = [name for name, entry in self.entries.items() if entry[0] == kind]
        return self.dice.choice(found) if found else None

    def make_file(self):
        name = self.fresh()
        if name:
            data = self.dice.randbytes(self.dice.choice((0, 10, 5000)))
            put(self.path(name), data)
            self.entries[name] = ("file", [data])

    def make_folder(self):
        name = self.fresh()
        if name:
            os.mkdir(self.path(name))
            self.entries[name] = ("dir",)

    def make_link(self):
        name = self.fresh()
        if name:
            os.symlink(name[::-1], self.path(name))
            self.entries[name] = ("link", name[::-1])

    def link(self):
        old, new = self.some("file"), self.fresh()
        if old and new:
            os.link(self.path(old), self.path(new))
            self.entries[new] = self.entries[old]

    def rewrite(self):
        name = self.some("file")
        if name:
            data = self.dice.randbytes(self.dice.choice((1, 9000)))
            put(self.path(name), data)
            self.entries[name][1][0] = data

    def rename(self):
        old, new = self.some("file"), self.some("file") or self.fresh()
        if not old or not new:
            return
        os.rename(self.path(old), self.path(new))
        if self.entries.get(new, [0, 0])[1] is not self.entries[old][1]:
            self.entries[new] = self.entries.pop(old)

    def move_folder(self):
        old, new = self.some("dir"), self.fresh()
        if not old or not new or (new + "/").startswith(old + "/"):
            return
        os.rename(self.path(old), self.path(new))
        for name in [name for name in self.entries if (name + "/").startswith(old + "/")]:
            self.entries[new + name[len(old):]] = self.entries.pop(name)

    def remove(self):
        name = self.some("file") or self.some("link")
        if name:
            os.unlink(self.path(name))
            del self.entries[name]

    def remove_folder(self):
        name = self.some("dir")
        if not name:
            return
        full = any(other.startswith(name + "/") for other in self.entries)
        error = error_of(os.rmdir, self.path(name))
        assert error == (errno.ENOTEMPTY if full else 0), (name, error)
        if not full:
            del self.entries[name]

    def step(self):
        self.dice.choice([self.make_file, self.make_file, self.make_folder, self.make_link,
                          self.link, self.rewrite, self.rename, self.move_folder, self.remove,
                          self.remove_folder])()

    def wanted(self):
        cells = [id(entry[1]) for entry in self.entries.values() if entry[0] == "file"]
        return {name: ("file", entry[1][0], cells.count(id(entry[1])))
                if entry[0] == "file" else entry for name, entry in self.entries.items()}


def one_worker(top, seed, steps):
    """In a process of its own: 0 when the tree is what it should be."""
    dice = random.Random(seed)
    common = os.path.join(os.path.dirname(top), "common")
    tree = Tree(top, dice)
    for _ in range(steps):
        tree.step()
        name = f"{common}/{dice.randrange(8)}"  # everybody's: anything may be true of it
        error = error_of(dice.choice([lambda: put(name, b"c"), lambda: os.unlink(name),
                                      lambda: os.rename(name, name + "x"),
                                      lambda: os.listdir(common),
                                      lambda: os.rename(name + "x", name)]))
        if error not in (0, errno.ENOENT):
            print(f"# {name}: {os.strerror(error)}", flush=True)
            return 1
    if tree_of(top) == tree.wanted():
        return 0
    found, wanted = tree_of(top), tree.wanted()
    print("# differs:", [n for n in found.keys() | wanted.keys()
                         if found.get(n) != wanted.get(n)][:5], flush=True)
    return 1


def exercise_tree(points, top):
    os.makedirs(f"{top}/stress/common")
    workers = []
    for number in range(4):
        os.mkdir(f"{top}/stress/{number}")
        pid = os.fork()
        if pid == 0:
            status = 1
            try:
                status = one_worker(f"{top}/stress/{number}", SEED + number, 150 * ROUNDS)
            except BaseException as error:  # pylint: disable=broad-except
                print(f"# worker {number}: {error!r}", flush=True)
            finally:
                os._exit(status)
        workers.append(pid)
    good = [os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in workers]
    points.point(good == [0] * 4, "four programs at once, each tree as its model", good)


# ---- snapshots, ends

def mount(server, what, folder, *more):
    if error_of(os.mkdir, folder) not in (0, errno.EEXIST):
        raise RuntimeError(f"{folder} can not be made")
    server.granary("share", "mount", what, folder, *more)


def snapshots(points, server, work):
    top, snap, again = f"{work}/mnt", f"{work}/snap", f"{work}/ro"
    with open(f"{top}/kept", "wb", buffering=0) as file:
        file.write(b"as it was")
        os.fsync(file.fileno())
    server.granary("share", "snapshot", SHARE + "@monday")
    put(f"{top}/kept", b"changed")
    mount(server, SHARE + "@monday", snap)
    points.point(get(f"{snap}/kept") == b"as it was" and get(f"{top}/kept") == b"changed",
                 "a snapshot shows what was")
    points.point(error_of(put, f"{snap}/x", b"") == errno.EROFS, "and is read-only")
    mount(server, SHARE, again, "--ro")
    points.point(get(f"{again}/kept") == b"changed"
                 and error_of(os.unlink, f"{again}/kept") == errno.EROFS, "so is a mount with --ro")
    refused = ""
    try:
        mount(server, SHARE + "@never", f"{work}/none")
    except RuntimeError as error:
        refused = str(error)
    points.point("no such snapshot" in refused, "one that is not there is refused", refused)
    try:
        mount(server, "tank/none", f"{work}/none")
    except RuntimeError as error:
        refused = str(error)
    points.point("no share named" in refused, "as is a share that is none", refused)
    try:
        server.granary("share", "delete", SHARE, "--yes")
        refused = ""
    except RuntimeError as error:
        refused = str(error)
    points.point(refused and get(f"{top}/kept") == b"changed",
                 "a mounted share is not deleted", refused)
    server.granary("share", "unmount", snap)
    result = subprocess.run(["umount", again], capture_output=True, timeout=60, check=False)
    points.point(result.returncode == 0 and mounts(work) == [top]
                 and wait_for(lambda: len(processes(work)) == 2),
                 "unmounted, by the command and by umount(8): their processes end",
                 processes(work))


def bad_input(points, server, work):
    """Whatever comes to the daemon's socket ends that connection alone."""
    path = os.path.join(server.state, "mount.sock")
    points.point(stat.S_IMODE(os.stat(path).st_mode) == 0o600, "the socket is root's")
    dice = random.Random(SEED)
    for size in (1, 100, 5000, 200000):
        with socket.socket(socket.AF_UNIX) as peer:
            peer.connect(path)
            peer.settimeout(30)
            try:
                peer.sendall(dice.randbytes(size))
                if size > 5000:
                    while peer.recv(65536):
                        pass
            except OSError:
                pass
    points.point(get(f"{work}/mnt/kept") == b"changed" and "online" in
                 server.granary("share", "show", SHARE), "noise disturbs nobody")


def a_stopped_mount(points, server, work):
    """The mount's process hangs: the daemon does not notice."""
    server_pid = processes(work)[1]
    daemon.pause(server_pid)
    try:
        begin = time.monotonic()
        server.granary("status")
        server.granary("share", "check", SHARE)
        points.point(time.monotonic() - begin < 10, "a mount that hangs holds nothing up")
    finally:
        os.kill(server_pid, signal.SIGCONT)
    points.point(get(f"{work}/mnt/kept") == b"changed", "and goes on")


def killed(points, server, work):
    top = f"{work}/mnt"
    keeper, child = processes(work)
    os.kill(child, signal.SIGKILL)
    points.point(wait_for(lambda: not mounts(work)), "without its process the mount goes")
    mount(server, SHARE, top)
    keeper, child = processes(work)[-2:]
    os.kill(keeper, signal.SIGKILL)
    points.point(wait_for(lambda: error_of(os.listdir, top) == errno.ENOTCONN),
                 "without its keeper it answers ENOTCONN")
    mount(server, SHARE, top)
    points.point(get(f"{top}/kept") == b"changed" and mounts(work) == [top],
                 "and the next mount clears it away")


def in_use(points, server, work):
    top = f"{work}/mnt"
    keeper = processes(work)[-2]
    with open(f"{top}/kept", "rb") as file:
        try:
            server.granary("share", "unmount", top)
            refused = ""
        except RuntimeError as error:
            refused = str(error)
        points.point("in use" in refused, "a mount in use is not unmounted", refused)
        server.granary("share", "unmount", top, "--lazy")
        points.point(not mounts(work) and file.read() == b"changed",
                     "but for --lazy, and its users go on")
        mount(server, SHARE, top)
        os.kill(keeper, signal.SIGTERM)
        points.point(wait_for(lambda: keeper not in processes(work)) and mounts(work) == [top]
                     and get(f"{top}/kept") == b"changed",
                     "whose end does not unmount what is mounted there since", processes(work))


def delegated(points, server, work):
    """What a mount may change no NFS client keeps."""
    top = f"{work}/mnt"
    port = int(re.search(r"^READY .*nfs=(\d+)", server.log(), re.M).group(1))
    with delegation.BackConnection(port) as c:
        holder = delegation.Holder(c, b"beside a mount")
        root = holder.walk("files")
        put(f"{top}/beside", b"one")
        _, _, given = holder.take(root, "beside", delegation.WANT_READ)
        points.point(given == (1,), "nothing of a mounted share is delegated", given)
        server.granary("share", "unmount", top)
        handle, given = None, (1,)
        for _ in range(1200):
            if isinstance(given, tuple):
                time.sleep(0.05)
                handle, _, given = holder.take(root, "beside", delegation.WANT_READ)
        points.point(isinstance(given, bytes), "it is when that is over", given)
        mount(server, SHARE, top)
        call = c.wait()
        points.point(call and call.recall == (4, given, False, handle),
                     "and called back when it is mounted again")
        holder.give_back(handle, given)


def with_the_daemon(points, work, server):
    """SIGTERM: what is mapped and not yet written gets there; nothing stays mounted."""
    top = f"{work}/mnt"
    put(f"{top}/mapped", bytes(64 * BLOCK))
    with open(f"{top}/mapped", "rb+") as file, mmap.mmap(file.fileno(), 0) as memory:
        for at in range(0, 64 * BLOCK, BLOCK):
            memory[at:at + 4] = b"late"
    begin = time.monotonic()
    status = server.stop()
    points.point(status == 0 and not mounts(work), "the daemon's end unmounts", server.log())
    server = daemon.Server(f"{work}/state")
    mount(server, SHARE, top)
    points.point(get(f"{top}/mapped") == (b"late" + bytes(BLOCK - 4)) * 64,
                 "and what was only in memory had been written")
    with open(f"{top}/kept", "rb") as file:
        begin = time.monotonic()
        status = server.stop()
        points.point(status == 0 and time.monotonic() - begin < 8 and not mounts(work),
                     "also while a file is open", f"{status}, {time.monotonic() - begin:.1f} s")
        points.point(error_of(os.fstatvfs, file.fileno()) == errno.ENOTCONN,
                     "whose program gets an error")
    server = daemon.Server(f"{work}/state")
    mount(server, SHARE, top)
    return server


def with_the_daemon_killed(points, work, server):
    top = f"{work}/mnt"
    with open(f"{top}/durable", "wb", buffering=0) as file:
        file.write(b"synced" * 1000)
        os.fsync(file.fileno())
    server.process.kill()
    server.process.wait()
    points.point(wait_for(lambda: not mounts(work)), "kill -9 of the daemon: nothing stays mounted")
    points.point(wait_for(lambda: error_of(os.listdir, top) == 0) and os.listdir(top) == [],
                 "and nothing hangs")
    server = daemon.Server(f"{work}/state")
    mount(server, SHARE, top)
    points.point(get(f"{top}/durable") == b"synced" * 1000, "what fsync answered is there")
    return server


def clear(work):
    for folder in mounts(work):
        LIBC.umount2(folder.encode(), 3)
    wait_for(lambda: not processes(work))


def test(points):
    if os.geteuid() != 0 or not os.path.exists("/dev/fuse"):
        raise tap.Skip("needs root and /dev/fuse")
    os.umask(0o022)
    with tempfile.TemporaryDirectory(prefix="granary-mount-") as work:
        os.chmod(work, 0o755)
        server = daemon.Server(f"{work}/state")
        top = f"{work}/mnt"
        try:
            mount(server, SHARE, top)
            for part in (names, attributes, extended, sparse, open_files, many, rights):
                part(points, top)
            points.note(f"seed {SEED}")
            exercise_file(points, top, random.Random(SEED))
            exercise_tree(points, top)
            points.point("no errors" in server.granary("share", "check", SHARE), "a clean check")
            for part in (snapshots, bad_input, a_stopped_mount, killed, in_use, delegated):
                part(points, server, work)
            server = with_the_daemon(points, work, server)
            server = with_the_daemon_killed(points, work, server)
            points.point("no errors" in server.granary("share", "check", SHARE),
                         "a clean check at the end")
        finally:
            server.stop()
            clear(work)


if __name__ == "__main__":
    tap.run(test)
