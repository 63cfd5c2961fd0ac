# SPDX-License-Identifier: Apache-2.0
"""A system bus with systemd on it, as far as granary-hostd speaks to it: Hello, StartUnit, and an error
for everything else."""

import os
import socket
import struct
import threading

RETURN, ERROR = 2, 3
REPLY_SERIAL, ERROR_NAME, SIGNATURE = 5, 4, 8


def aligned(data, to):
    return data + bytes(-len(data) % to)


def text(value):
    return struct.pack("<I", len(value)) + value.encode() + b"\0"


def field(code, kind, value):
    """A header field: a struct, so from a multiple of eight on."""
    head = bytes([code, 1]) + kind.encode() + b"\0"
    return head + (bytes([len(value)]) + value.encode() + b"\0" if kind == "g" else
                   text(value) if kind == "s" else struct.pack("<I", value))


def message(kind, serial, fields, body=b""):
    packed = b""
    for one in fields:
        packed = aligned(packed, 8) + one
    head = struct.pack("<BBBBII", ord("l"), kind, 1, 1, len(body), serial)
    return aligned(head + struct.pack("<I", len(packed)) + packed, 8) + body


class Bus:
    """@started(unit) is called for each StartUnit; what it raises becomes an error."""

    def __init__(self, path, started):
        self.started = started
        self.listener = socket.socket(socket.AF_UNIX)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        self.listener.bind(path)
        self.listener.listen(16)
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self):
        while True:
            try:
                stream = self.listener.accept()[0]
            except OSError:
                return
            threading.Thread(target=self.serve, args=(stream,), daemon=True).start()

    def serve(self, stream):
        with stream, stream.makefile("rb") as reader:
            try:
                reader.read(1)  # a NUL
                while (line := reader.readline().strip()) != b"BEGIN" and line:
                    if line.startswith(b"AUTH"):
                        stream.sendall(b"OK 0123456789abcdef0123456789abcdef\r\n"
                                       if len(line.split()) > 2 else b"DATA\r\n")
                    elif line.startswith(b"DATA"):
                        stream.sendall(b"OK 0123456789abcdef0123456789abcdef\r\n")
                    else:
                        stream.sendall(b"AGREE_UNIX_FD\r\n")
                self.calls(stream, reader)
            except OSError:
                pass

    def calls(self, stream, reader):
        while len(head := reader.read(16)) == 16:
            body_length, serial, fields_length = struct.unpack("<III", head[4:])
            fields = reader.read(-(-fields_length // 8) * 8)
            body = reader.read(body_length)
            stream.sendall(self.answer(serial, fields, body))

    def answer(self, serial, fields, body):
        reply = field(REPLY_SERIAL, "u", serial)
        if b"Hello\0" in fields:
            return message(RETURN, 1, [reply, field(SIGNATURE, "g", "s")], text(":1.1"))
        try:
            if b"StartUnit\0" not in fields:
                raise RuntimeError("not on this bus")
            self.started(body[4:4 + struct.unpack("<I", body[:4])[0]].decode())
        except RuntimeError as why:
            return message(ERROR, 2, [reply, field(ERROR_NAME, "s", "org.granary.Refused"),
                                      field(SIGNATURE, "g", "s")], text(str(why)))
        return message(RETURN, 2, [reply, field(SIGNATURE, "g", "o")], text("/job/1"))

    def close(self):
        self.listener.close()
