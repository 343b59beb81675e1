#!/usr/bin/env python3
"""Runs the configurations of docs/resource-servers.md, as the page prints them, against a real keyfob.

Each section answers requests with an active token, no token, a token of another audience, and a revoked token.
"""

import argparse
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import sections
from keyfob import ROOT, Keyfob


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("sections", nargs="*", help=f"which: {', '.join(sections.ALL)}; default: those of CI")
    parser.add_argument("--binary", default=ROOT / "target" / "release" / "keyfob")
    arguments = parser.parse_args()
    unknown = set(arguments.sections) - set(sections.ALL)
    if unknown:
        parser.error(f"unknown section: {', '.join(sorted(unknown))}")
    failed = []
    for name in arguments.sections or sections.CI:
        started = time.monotonic()
        keyfob = Keyfob(arguments.binary, name)
        try:
            with tempfile.TemporaryDirectory() as place:
                Path(place).chmod(0o755)
                sections.ALL[name](keyfob, Path(place))
            print(f"ok      {name} ({time.monotonic() - started:.0f} s)", flush=True)
        except (AssertionError, OSError, subprocess.CalledProcessError) as failure:
            failed.append(name)
            print(f"FAILED  {name}: {failure}", flush=True)
        finally:
            keyfob.stop()
    done = len(arguments.sections or sections.CI)
    print(f"{done - len(failed)} passed, {len(failed)} failed")
    sys.exit(bool(failed))


if __name__ == "__main__":
    main()
