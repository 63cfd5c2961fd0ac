#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
# granary-test: timeout=14400 engines=one torture
"""Guests recorded and replayed to crash points for TRACE_MINUTES=N (8)."""

import os
import sys

HERE = os.path.dirname(os.path.abspath(__file__))

if __name__ == "__main__":
    test = os.path.join(HERE, "guest_trace_test.py")
    os.execve(test, [test, *sys.argv[1:]],
              {**os.environ, "TRACE_MINUTES": os.environ.get("TRACE_MINUTES", "8")})
