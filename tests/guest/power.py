# SPDX-License-Identifier: Apache-2.0
"""A disk as a power cut leaves it: what a guest wrote is replayed from the log of Box(log=...), up to
any moment; of what was not flushed by then, some is there, some is not, and the last may be half."""

import os
import struct

SECTOR = 512
FLUSH, DISCARD = 1, 4


class Entry:
    """One request of the guest: a write of @length bytes to @offset, or a flush."""

    def __init__(self, at, sector, count, flags):
        self.at, self.flush = at, bool(flags & FLUSH)
        self.offset, self.length = sector * SECTOR, count * SECTOR


def read_log(path):
    """QEMU's blklogwrites in the layout of the kernel's dm-log-writes: a superblock, then of each
    request a sector with its place and flags, followed by its data. What was cut off at the end is
    left out."""
    entries, size = [], os.path.getsize(path)
    with open(path, "rb") as log:
        at = SECTOR
        while at + SECTOR <= size:
            sector, count, flags = struct.unpack("<QQQ", os.pread(log.fileno(), 24, at))
            if flags & DISCARD:
                raise ValueError("a discard, which the disk does not offer")
            entry = Entry(at + SECTOR, sector, count, flags)
            if not entry.flush and not entry.length or entry.at + entry.length > size:
                break
            entries.append(entry)
            at = entry.at + entry.length
    return entries


class CutDisk:
    """The raw file @path, which is as the disk was when the log begins. Moments go forward only."""

    def __init__(self, path, log):
        self.disk = os.open(path, os.O_RDWR)
        self.log = os.open(log, os.O_RDONLY)
        self.entries = read_log(log)
        self.durable = 0
        self.before = []

    def close(self):
        os.close(self.disk)
        os.close(self.log)

    def first_after(self, position):
        """The entry that was put down at @position of the log or later."""
        return next((number for number, entry in enumerate(self.entries) if entry.at > position),
                    len(self.entries))

    def flushes(self, begin):
        return [number for number in range(begin, len(self.entries)) if self.entries[number].flush]

    def write(self, entry, length):
        os.pwrite(self.disk, os.pread(self.log, length, entry.at), entry.offset)

    def writes_over(self, begin, start, end):
        """Entries from @begin on that write all the bytes from @start to @end at once."""
        return [number for number in range(begin, len(self.entries))
                if not self.entries[number].flush and self.entries[number].offset <= start
                and self.entries[number].offset + self.entries[number].length >= end]

    def cut(self, moment, dice, torn=None):
        """The power goes behind @moment entries; how many bytes were written and not flushed. @torn:
        nothing is lost but the end of the last one, of which so many bytes are there."""
        for offset, data in reversed(self.before):  # what the cut before this one left
            os.pwrite(self.disk, data, offset)
        self.before = []
        flushed = max((number for number in self.flushes(0) if number < moment), default=0)
        for entry in self.entries[self.durable:flushed]:
            self.write(entry, entry.length)
        self.durable = max(self.durable, flushed)
        return self.keep_some(self.entries[self.durable:moment], dice, torn)

    def keep_some(self, loose, dice, torn):
        share = dice.choice((0, 0.5, 0.9, 1)) if torn is None else 1
        for number, entry in enumerate(loose):
            length = entry.length
            if number == len(loose) - 1:
                length = dice.randint(0, length // SECTOR) * SECTOR if torn is None else torn
            elif dice.random() >= share:
                continue
            self.before.append((entry.offset, os.pread(self.disk, length, entry.offset)))
            self.write(entry, length)
        return sum(entry.length for entry in loose)
