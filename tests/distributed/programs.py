"""The programs that the harness starts, each as an ordinary user and on a port of its own."""

import itertools
import os
import random
import shutil
import signal
import socket
import subprocess
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
TOOLS = ROOT / "target" / "tools" / "patroni"
REQUIREMENTS = Path(__file__).with_name("requirements.txt")
# PostgreSQL refuses to run as root. This user exists everywhere, without rights.
ORDINARY_USER = 65534

# Two runs at the same time do not get the same ports.
_ports = itertools.count(random.randrange(20000, 31000))


def free_port():
    """A port below those of outgoing connections: no client of a stopped server connects to itself."""
    for port in _ports:
        with socket.socket() as listener:
            try:
                listener.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
    raise SystemExit("no port is free")


def postgres_programs():
    """The directory of the programs of Debian's newest PostgreSQL."""
    found = [path.parent for path in Path("/usr/lib/postgresql").glob("*/bin/initdb")]
    if not found:
        raise SystemExit("install the Debian package postgresql first")
    return max(found, key=lambda path: int(path.parent.name))


def etcd_program():
    """Debian's etcd."""
    found = shutil.which("etcd")
    if not found:
        raise SystemExit("install the Debian package etcd-server first")
    return found


def with_clock(offset):
    """The environment of a program whose time of day is wrong by so many seconds. Its timers are right."""
    if not offset:
        return {}
    found = sorted(Path("/usr/lib").glob("*/faketime/libfaketime.so.1"))
    if not found:
        raise SystemExit("install the Debian package faketime first")
    return {
        "LD_PRELOAD": str(found[0]),
        "FAKETIME": f"{offset:+}",
        "FAKETIME_DONT_FAKE_MONOTONIC": "1",
        "NO_FAKE_STAT": "1",
    }


def python_program():
    """A Python that the ordinary user can run too."""
    return "/usr/bin/python3" if Path("/usr/bin/python3").exists() else shutil.which("python3")


def install_patroni():
    """Installs Patroni in target/tools, unless it is there; answers the directory of its modules."""
    known = TOOLS / "requirements.txt"
    if not known.exists() or known.read_bytes() != REQUIREMENTS.read_bytes():
        shutil.rmtree(TOOLS, ignore_errors=True)
        subprocess.run([python_program(), "-m", "venv", TOOLS], check=True)
        pip = [TOOLS / "bin" / "pip", "install", "--quiet", "--disable-pip-version-check"]
        subprocess.run([*pip, "--require-hashes", "--requirement", REQUIREMENTS], check=True)
        shutil.copy(REQUIREMENTS, known)
    return next(TOOLS.glob("lib/python3*/site-packages"))


class Place:
    """The directory of a run, which the ordinary user can read and write."""

    def __init__(self, path, binary):
        self.path = Path(path)
        self.is_root = os.geteuid() == 0
        # The checkout can be in a directory that only its owner can read.
        self.binary = self.path / "keyfob"
        shutil.copy(binary, self.binary)
        self.modules = self.path / "modules"
        shutil.copytree(install_patroni(), self.modules, symlinks=True)
        self.path.chmod(0o755)

    def directory(self, name):
        """A new directory of the ordinary user."""
        path = self.path / name
        path.mkdir(mode=0o700)
        self.give(path)
        return path

    def give(self, path):
        """Makes the ordinary user the owner of a file."""
        if self.is_root:
            os.chown(path, ORDINARY_USER, ORDINARY_USER)

    def as_ordinary_user(self):
        """The arguments of Popen for the user of all programs."""
        user = {"user": ORDINARY_USER, "group": ORDINARY_USER, "extra_groups": []} if self.is_root else {}
        return {**user, "start_new_session": True, "stdin": subprocess.DEVNULL}

    def run(self, *command, **options):
        """Runs a program to its end; answers what it printed."""
        done = subprocess.run(command, capture_output=True, text=True, **self.as_ordinary_user(), **options)
        if done.returncode:
            raise RuntimeError(f"{command[0]} failed: {done.stdout}{done.stderr}")
        return done.stdout


class Program:
    """A process that can be killed, frozen and started again; its output is in a log."""

    def __init__(self, place, name, command, directory, env=None):
        self.place, self.name, self.command, self.directory = (
            place,
            name,
            [str(part) for part in command],
            directory,
        )
        kept = {"PATH": "/usr/bin:/bin", "HOME": str(directory), "LANG": "C.UTF-8"}
        self.env = kept | (env or {})
        self.log = place.path / f"{name}.log"
        self.process = None

    def start(self):
        """Starts it."""
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                self.command,
                cwd=self.directory,
                env=self.env,
                stdout=log,
                stderr=log,
                **self.place.as_ordinary_user(),
            )

    def is_running(self):
        """Whether it was started and has not ended."""
        return self.process is not None and self.process.poll() is None

    def signal(self, number):
        """Sends a signal, if it runs."""
        if self.is_running():
            self.process.send_signal(number)

    def freeze(self):
        """Stops it where it is."""
        self.signal(signal.SIGSTOP)

    def thaw(self):
        """Lets it go on."""
        self.signal(signal.SIGCONT)

    def kill(self):
        """Ends it with SIGKILL, and waits until it is gone."""
        if self.is_running():
            self.process.kill()
            self.process.wait()
            # What libfaketime leaves behind would disturb the next process with this id.
            for name in ["faketime_shm", "sem.faketime_sem"]:
                Path(f"/dev/shm/{name}_{self.process.pid}").unlink(missing_ok=True)


def children(parent):
    """The processes that a process has started, each with its title."""
    found = {}
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        try:
            stat = (entry / "stat").read_text()
            title = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace").strip()
        except OSError:
            continue
        if int(stat.rpartition(")")[2].split()[1]) == parent:
            found[int(entry.name)] = title
    return found


def send(pids, number):
    """Sends a signal to processes, of which some may be gone."""
    for pid in pids:
        try:
            os.kill(pid, number)
        except ProcessLookupError:
            continue
