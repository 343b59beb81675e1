#!/usr/bin/env python3
"""Follows docs/fastapi.md as it is printed, then tests examples/fastapi, from a clean environment with the two built wheels.

tests/fastapi/run.py WHEELS [--pictures DIRECTORY]: WHEELS is what packaging/build-wheels makes. Needs curl, node and Chromium.
"""

import argparse
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from contextlib import contextmanager
from pathlib import Path
from urllib.error import URLError
from urllib.request import urlopen

ROOT = Path(__file__).resolve().parents[2]
GUIDE_SECONDS_MAX = 60


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("wheels", type=Path)
    parser.add_argument("--pictures", type=Path)
    arguments = parser.parse_args()
    wheels = arguments.wheels.resolve()
    with tempfile.TemporaryDirectory() as place:
        follow_the_guide(wheels, Path(place))
    with tempfile.TemporaryDirectory() as place:
        test_the_example(wheels, Path(place), arguments.pictures)


def blocks(page: str) -> list[tuple[str, str]]:
    """The marked blocks of a page, in order: what follows the three backticks, and the text."""
    return re.findall(r"^```([^\n`]+)\n(.*?)^```$", page, re.M | re.S)


def follow_the_guide(wheels: Path, place: Path) -> None:
    """Saves the files, runs the lines and looks for the output that the page shows."""
    started, protected, shown = time.monotonic(), None, ""
    # Without Rust, and without what this environment has installed.
    environment = {"PATH": "/usr/bin:/bin", "HOME": str(place), "WHEELS": str(wheels)}
    background = []
    try:
        for kind, text in blocks((ROOT / "docs" / "fastapi.md").read_text()):
            if re.fullmatch(r"(python|toml) \S+", kind):
                (place / kind.split()[1]).write_text(text)
            elif kind == "sh tour background":
                command = ["bash", "-c", f"exec {text}"]
                background.append(subprocess.Popen(command, cwd=place, env=environment))
                wait_for("http://127.0.0.1:8000/login")
            elif kind == "sh tour":
                done = subprocess.run(
                    ["bash", "-euo", "pipefail", "-c", text], cwd=place, env=environment, stdout=subprocess.PIPE, text=True
                )
                shown += done.stdout
                if done.returncode:
                    sys.exit(f"the guide's lines fail:\n{text}\n{shown}")
            elif kind == "output":
                for line in text.splitlines():
                    if line not in shown:
                        sys.exit(f"the guide shows {line!r}; it was:\n{shown}")
                    shown = shown.partition(line)[2]
                protected = protected or time.monotonic() - started
    finally:
        for process in background:
            stop(process)
    assert protected is not None, "the guide has no output"
    assert protected < GUIDE_SECONDS_MAX, f"from nothing to a protected page took {protected:.0f} s"
    print(f"ok      the guide, a protected page after {protected:.1f} s", flush=True)


def test_the_example(wheels: Path, place: Path, pictures: Path | None) -> None:
    """Over HTTP with pytest, by clicks in Chromium, and with the mobile client."""
    example = place / "example"
    shutil.copytree(ROOT / "examples" / "fastapi", example)
    subprocess.run([sys.executable, "-m", "venv", place / "env"], check=True)
    python = place / "env" / "bin" / "python"
    requirements = ["fastapi", "uvicorn[standard]", "jinja2", "argon2-cffi", "pytest", "httpx2"]
    client = next(wheels.glob("keyfob-*.whl"))
    install = [python, "-m", "pip", "install", "--quiet", *wheels.glob("keyfob_server-*.whl"), f"{client}[fastapi]"]
    subprocess.run([*install, *requirements], check=True)
    path = f"{python.parent}:{os.environ['PATH']}"
    subprocess.run([python, "-m", "pytest", "-q"], cwd=example, env={"PATH": path, "HOME": str(place)}, check=True)
    port = "8000"
    with running([example / "run"], {"PATH": path, "HOME": str(place), "PORT": port}):
        shop = f"http://127.0.0.1:{port}"
        wait_for(f"{shop}/login")
        subprocess.run([python, example / "phone.py", shop, "alice", "wonderland"], check=True)
        browser = shutil.which("chromium") or sys.exit("chromium is missing")
        script = ROOT / "tests" / "e2e" / "fastapi.mjs"
        subprocess.run(["node", script, shop, browser, pictures or place], check=True)
    print("ok      the example: pytest, the mobile client, Chromium", flush=True)


@contextmanager
def running(command: list, environment: dict):
    process = subprocess.Popen(command, env=environment)
    try:
        yield
    finally:
        stop(process)


def stop(process: subprocess.Popen) -> None:
    process.send_signal(signal.SIGTERM)
    try:
        process.wait(timeout=20)
    except subprocess.TimeoutExpired:
        process.kill()
        sys.exit("keyfob dev did not end on SIGTERM")


def wait_for(url: str) -> None:
    for _ in range(300):
        try:
            with urlopen(url, timeout=5):
                return
        except (URLError, OSError):
            time.sleep(0.1)
    sys.exit(f"{url} does not answer")


if __name__ == "__main__":
    main()
