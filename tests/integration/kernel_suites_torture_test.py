#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
# granary-test: timeout=14400 engines=one torture
"""kernel_suites_test.py for SUITES_SECONDS=N (20) of each part, more ways of mounting, and another
seed each day."""

import os
import sys
import time

HERE = os.path.dirname(os.path.abspath(__file__))
WAYS = " ".join(f"{version},{options}" for options in ("hard", "actimeo=0", "sync", "noac")
                for version in ("3", "4.0", "4.1", "4.2"))

if __name__ == "__main__":
    test = os.path.join(HERE, "kernel_suites_test.py")
    chosen = {"SUITES_SECONDS": "20", "SUITES_WAYS": WAYS,
              "SUITES_SEED": str(int(time.time()) // 86400)}
    os.execve(test, [test, *sys.argv[1:]], {**chosen, **os.environ})
