# SPDX-License-Identifier: Apache-2.0
"""A file system of one file, for tests that pull a disk: what is read and written at MOUNTPOINT, a
file, is IMAGE's. When the process is killed, whatever is under way there, or comes later, fails.

    fuse_file.py IMAGE MOUNTPOINT

It speaks FUSE's protocol itself, one request after the other. (The FUSE exports of QEMU before 10.0
take a request while a write is under way, whose data it lands in: writes at the same time are then
mixed up.) Needs root, to mount."""

import ctypes
import errno
import os
import struct
import sys

LOOKUP, FORGET, GETATTR, SETATTR, OPEN, READ, WRITE, STATFS = 1, 2, 3, 4, 14, 15, 16, 17
RELEASE, FSYNC, FLUSH, INIT, INTERRUPT, DESTROY, BATCH_FORGET = 18, 20, 25, 26, 36, 38, 42
SILENT = (FORGET, INTERRUPT, BATCH_FORGET)  # want no answer
WRITE_MAX = 1 << 20
DIRECT_IO, BIG_WRITES, MAX_PAGES = 1, 1 << 5, 1 << 22
MS_NOSUID, MS_NODEV = 2, 4


def mount(mountpoint):
    fuse = os.open("/dev/fuse", os.O_RDWR | os.O_CLOEXEC)
    libc = ctypes.CDLL(None, use_errno=True)
    options = f"fd={fuse},rootmode=100600,user_id=0,group_id=0,allow_other,max_read={WRITE_MAX}"
    if libc.mount(b"fuse_file", os.fsencode(mountpoint), b"fuse", MS_NOSUID | MS_NODEV,
                  options.encode()):
        raise OSError(ctypes.get_errno(), "mount")
    return fuse


def attributes(image):
    stat = os.fstat(image)
    return struct.pack("<QIIQQQQQQIIIIIIIIII", 0, 0, 0, 1, stat.st_size, stat.st_size // 512,
                       0, 0, 0, 0, 0, 0, 0o100600, 1, 0, 0, 0, 4096, 0)


def answer(image, opcode, body):
    """The bytes of the reply; OSError."""
    if opcode == INIT:
        major, minor, readahead = struct.unpack_from("<III", body)
        return struct.pack("<IIIIHHIIHHI28x", major, min(minor, 31), readahead,
                           BIG_WRITES | MAX_PAGES, 16, 12, WRITE_MAX, 1, WRITE_MAX // 4096, 0, 0)
    if opcode in (GETATTR, SETATTR):  # the size stays
        return attributes(image)
    if opcode == OPEN:
        return struct.pack("<QII", 0, DIRECT_IO, 0)
    if opcode == READ:
        _, offset, size = struct.unpack_from("<QQI", body)
        return os.pread(image, size, offset)
    if opcode == WRITE:
        _, offset, size = struct.unpack_from("<QQI", body)
        return struct.pack("<II", os.pwrite(image, body[40:40 + size], offset), 0)
    if opcode == FSYNC:
        os.fdatasync(image)
        return b""
    if opcode in (FLUSH, RELEASE, DESTROY):
        return b""
    if opcode == STATFS:
        return struct.pack("<QQQQQIIII24x", 0, 0, 0, 0, 0, 4096, 255, 4096, 0)
    raise OSError(errno.ENOSYS, "")


def serve(image, fuse):
    while True:
        try:
            request = os.read(fuse, WRITE_MAX + 4096)
        except InterruptedError:
            continue
        except OSError as gone:
            if gone.errno == errno.ENOENT:  # it was interrupted
                continue
            return  # unmounted
        _, opcode, unique = struct.unpack_from("<IIQ", request)
        try:
            error, reply = 0, answer(image, opcode, request[40:])
        except OSError as failed:
            error, reply = -failed.errno, b""
        if opcode in SILENT:
            continue
        try:
            os.write(fuse, struct.pack("<IiQ", 16 + len(reply), error, unique) + reply)
        except OSError as gone:
            if gone.errno != errno.ENOENT:
                return


if __name__ == "__main__":
    serve(os.open(sys.argv[1], os.O_RDWR), mount(sys.argv[2]))
