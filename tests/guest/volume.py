# SPDX-License-Identifier: Apache-2.0
"""Small volumes with files on them: vfat and ISO 9660."""

import os
import subprocess


def made(*words):
    done = subprocess.run(words, stdin=subprocess.DEVNULL, capture_output=True, text=True,
                          timeout=60, check=False)
    if done.returncode:
        raise RuntimeError(f"{words[0]}: {done.stderr}")


def folder_of(path, files):
    os.makedirs(path)
    for name, text in files.items():
        with open(os.path.join(path, name), "w", encoding="utf-8") as out:
            out.write(text)
    return path


def vfat(path, label, files):
    folder = folder_of(path + ".d", files)
    with open(path, "wb") as file:
        file.truncate(8 << 20)
    made("mkfs.vfat", "-n", label, path)
    made("mcopy", "-i", path, *(os.path.join(folder, name) for name in sorted(files)), "::")
    return path


def iso(path, label, files):
    made("xorriso", "-as", "mkisofs", "-quiet", "-V", label, "-J", "-R", "-o", path,
         folder_of(path + ".d", files))
    return path
