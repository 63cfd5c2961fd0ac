# SPDX-License-Identifier: Apache-2.0
"""Loop devices over files of the test's own, given back whatever happens."""

import os
import subprocess

from tap import Skip


class Loops:
    """@count devices of @size each: .paths, and the files behind them: .files."""

    def __init__(self, folder, count, size):
        self.files = [os.path.join(folder, f"disk{number}") for number in range(count)]
        self.size = size
        self.paths = []

    def __enter__(self):
        if os.getuid() != 0:
            raise Skip("needs root (loop devices)")
        for file in self.files:
            subprocess.run(["truncate", "-s", self.size, file], check=True)
            made = subprocess.run(["losetup", "--show", "-f", file], capture_output=True,
                                  text=True)
            if made.returncode:
                self.__exit__()
                raise Skip(f"no loop device: {made.stderr.strip()}")
            self.paths.append(made.stdout.strip())
        return self

    def __exit__(self, *_):
        for path in self.paths:
            subprocess.run(["losetup", "-d", path], capture_output=True)
        self.paths = []

    def grow(self, number, size):
        """The file behind a device, and the device, get larger."""
        subprocess.run(["truncate", "-s", size, self.files[number]], check=True)
        subprocess.run(["losetup", "-c", self.paths[number]], check=True)
