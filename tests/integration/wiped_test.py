#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
# granary-test: timeout=60
"""Secrets that came with a request are nowhere in the daemon's memory when it has been answered:
not in the message, nor in its JSON, whether the request was good, refused or no JSON at all."""

import json
import os
import sys
import tempfile

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(os.path.dirname(HERE), "guest"))

import api  # pylint: disable=wrong-import-position
import tap  # pylint: disable=wrong-import-position

V1 = "/api/v1"
IQN = "iqn.2026-11.org.granary:wiped"


def found(pid, text):
    """Where @text is in a process's memory."""
    places, wanted = [], text.encode()
    with open(f"/proc/{pid}/maps", encoding="ascii") as maps, open(f"/proc/{pid}/mem", "rb", 0) as memory:
        for line in maps:
            fields = line.split()
            first, last = (int(part, 16) for part in fields[0].split("-"))
            if "rw" not in fields[1] or fields[-1] == "[vvar]":
                continue
            try:
                memory.seek(first)
                if wanted in memory.read(last - first):
                    places.append(line.strip())
            except (OSError, ValueError):
                continue
    return places


def test(points):
    if os.environ.get("ASAN_OPTIONS") or "asan" in api.BUILD:
        raise tap.Skip("a sanitizer keeps what was freed")
    with tempfile.TemporaryDirectory() as folder:
        daemon = api.Daemon(os.path.join(folder, "state"))
        try:
            pid = daemon.process.pid
            daemon.good("POST", f"{V1}/targets", {"iqn": IQN, "alias": "seen-in-its-memory"})
            try:
                points.point(found(pid, "seen-in-its-memory"), "what it keeps is found in its memory")
            except PermissionError as reason:
                raise tap.Skip("the memory of another process is not to be read") from reason
            daemon.good("POST", f"{V1}/accounts", {"name": "first", "role": "admin", "password": "a pass phrase"})
            long = "long-" + "0123456789abcdef" * 12
            tries = [
                ("POST", "/accounts", {"name": "one", "role": "viewer", "password": "S3cret-of-an-account"}, 201),
                ("POST", "/accounts", {"name": "two", "role": "none", "password": "S3cret-with-no-role"}, 400),
                ("POST", "/accounts", {"name": "three", "role": "viewer", "password": long}, 201),
                ("PUT", "/smb/users/ann", {"password": "S3cret-of-an-SMB-user"}, 200),
                ("POST", "/nowhere", {"password": "S3cret-for-no-route"}, 404),
                ("POST", "/backup/restore", {"passphrase": "S3cret-of-a-backup"}, 409),
            ]
            for method, path, body, status in tries:
                secret = body.get("password") or body.get("passphrase")
                reply = daemon.call(method, f"{V1}{path}", body)
                points.point(reply["status"] == status, f"{method} {path}", reply)
                points.point(not found(pid, secret), "nothing of its secret is left",
                             found(pid, secret))
            daemon.raw(json.dumps({"method": "POST", "secret": "S3cret-outside"}).encode()[:-1])
            points.point(not found(pid, "S3cret-outside"), "nor of what is no JSON",
                         found(pid, "S3cret-outside"))
        finally:
            points.point(daemon.stop() == 0, "clean stop", daemon.log()[-2000:])


if __name__ == "__main__":
    tap.run(test)
