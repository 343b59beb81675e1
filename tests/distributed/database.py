"""The database: three etcd, and three PostgreSQL under Patroni."""

import asyncio
import json
import signal
from pathlib import Path

from connection import NotSentError, Peer
from programs import Program, children, etcd_program, free_port, postgres_programs, python_program, send

BOOTSTRAP_S = 90
# What docs/scale.md says; the controls change it.
PATRONI = {
    "ttl": 20,
    "loop_wait": 2,
    "retry_timeout": 5,
    "maximum_lag_on_failover": 100 << 20,
    "synchronous_mode": True,
    "synchronous_mode_strict": True,
    "synchronous_node_count": 1,
}
PARAMETERS = {
    "max_connections": 150,
    "wal_keep_size": "256MB",
    "shared_buffers": "64MB",
    "autovacuum_naptime": "10s",
}


class Etcd:
    """The three processes of etcd."""

    def __init__(self, place):
        names = ["e1", "e2", "e3"]
        self.ports = {name: free_port() for name in names}
        peers = {name: f"http://127.0.0.1:{free_port()}" for name in names}
        self.programs = {}
        for name in names:
            directory, url = place.directory(name), f"http://127.0.0.1:{self.ports[name]}"
            command = [
                etcd_program(),
                "--name",
                name,
                "--data-dir",
                directory / "data",
                "--initial-cluster-state",
                "new",
            ]
            command += ["--listen-client-urls", url, "--advertise-client-urls", url]
            command += ["--listen-peer-urls", peers[name], "--initial-advertise-peer-urls", peers[name]]
            command += ["--initial-cluster", ",".join(f"{other}={peers[other]}" for other in names)]
            self.programs[name] = Program(place, name, command, directory)
        self.clients = {name: Peer(port) for name, port in self.ports.items()}

    async def leader(self):
        """The name of the leader; None while there is none."""
        for name, peer in self.clients.items():
            try:
                body = json.dumps({}).encode()
                status = (await peer.send("POST", "/v3/maintenance/status", body, patience=3)).json()
            except (NotSentError, ConnectionError, ValueError):
                continue
            if status.get("leader") and status["leader"] == status["header"]["member_id"]:
                return name
        return None


class Member:
    """One PostgreSQL with its Patroni."""

    def __init__(self, place, name, etcd, network, options):
        self.place, self.name = place, name
        self.directory, self.port, self.api = place.directory(name), free_port(), Peer(free_port())
        # How the other members reach this one, and how this one reaches etcd.
        postgres, api = network.link(self.port), network.link(self.api.port)
        to_etcd = [network.link(port) for port in etcd.ports.values()]
        self.links = [postgres, api, *to_etcd]
        self.is_frozen = False
        config = {
            "scope": "keyfob",
            "name": name,
            "restapi": {
                "listen": f"127.0.0.1:{self.api.port}",
                "connect_address": f"127.0.0.1:{api.port}",
            },
            # With use_proxies Patroni keeps to these addresses; else it asks etcd for others.
            "etcd3": {"hosts": [f"127.0.0.1:{link.port}" for link in to_etcd], "use_proxies": True},
            "bootstrap": {
                "dcs": {
                    **PATRONI,
                    **options,
                    "postgresql": {"use_pg_rewind": True, "parameters": PARAMETERS},
                },
                "initdb": [{"encoding": "UTF8"}, "no-locale", "data-checksums"],
            },
            "postgresql": {
                "listen": f"127.0.0.1:{self.port}",
                "connect_address": f"127.0.0.1:{postgres.port}",
                "data_dir": str(self.directory / "data"),
                "bin_dir": str(postgres_programs()),
                "pgpass": str(self.directory / "pgpass"),
                "parameters": {"unix_socket_directories": str(self.directory)},
                "pg_hba": [
                    "local all all trust",
                    "host all all 127.0.0.1/32 trust",
                    "host replication all 127.0.0.1/32 trust",
                ],
                "authentication": {
                    "superuser": {"username": "postgres"},
                    "replication": {"username": "replicator"},
                },
            },
            "watchdog": {"mode": "off"},
        }
        # JSON is YAML.
        path = self.directory / "patroni.yml"
        path.write_text(json.dumps(config, indent=1))
        place.give(path)
        command = [python_program(), "-m", "patroni", path]
        self.patroni = Program(place, name, command, self.directory, {"PYTHONPATH": str(place.modules)})

    def postmaster(self):
        """The process id of PostgreSQL; None if it does not run."""
        data = self.directory / "data"
        try:
            pid = int((data / "postmaster.pid").read_text().split()[0])
            # The file can be that of a process that was killed.
            title = Path(f"/proc/{pid}/cmdline").read_text()
        except (OSError, IndexError, ValueError):
            return None
        return pid if str(data) in title else None

    def processes(self):
        """The processes of PostgreSQL, each with its title."""
        pid = self.postmaster()
        return {} if pid is None else {pid: "postmaster", **children(pid)}

    def signal_postgres(self, number, title=""):
        """Sends a signal to all processes of PostgreSQL, or to those whose title contains a word."""
        self.is_frozen = self.is_frozen or number == signal.SIGSTOP
        chosen = [pid for pid, found in self.processes().items() if title in found]
        send(chosen, number)
        return chosen

    def thaw(self):
        """Lets all of it go on. To look for processes takes time in which the network stands still."""
        self.patroni.thaw()
        if self.is_frozen:
            self.signal_postgres(signal.SIGCONT)
            self.is_frozen = False

    async def accepts_writes(self):
        """Whether PostgreSQL runs as a primary."""
        try:
            return (await self.sql("SELECT pg_is_in_recovery()")).strip() == "f"
        except RuntimeError:
            return False

    async def sql(self, text, database="postgres"):
        """Runs SQL as an operator; answers the rows as lines. Meanwhile the network goes on."""
        command = [
            postgres_programs() / "psql",
            "-XAtq",
            "-h",
            self.directory,
            "-p",
            self.port,
            "-U",
            "postgres",
        ]
        command += ["-v", "ON_ERROR_STOP=1", "-d", database, "-c", text]
        return await asyncio.to_thread(self.place.run, *map(str, command))


class Database:
    """The cluster."""

    def __init__(self, place, network, options):
        self.etcd, self.network = Etcd(place), network
        names = ["n1", "n2", "n3"]
        self.members = {name: Member(place, name, self.etcd, network, options) for name in names}
        self.is_synchronous = options.get("synchronous_mode", True)

    def address(self):
        """The address for a keyfob, and its links by the names of the members."""
        links = {name: self.network.link(member.port) for name, member in self.members.items()}
        hosts = ",".join(f"127.0.0.1:{link.port}" for link in links.values())
        return f"postgres://keyfob@{hosts}/keyfob", links

    async def start(self):
        """Starts all of it, and creates the database."""
        for program in self.etcd.programs.values():
            program.start()
        await until(self.etcd.leader, "etcd has no leader")
        for member in self.members.values():
            member.patroni.start()
        await until(self.is_healthy, "the database is not ready", BOOTSTRAP_S)
        primary = self.members[await self.primary()]
        await primary.sql("CREATE ROLE keyfob LOGIN CONNECTION LIMIT 60")
        await primary.sql("CREATE DATABASE keyfob OWNER keyfob TEMPLATE template0")

    def stop(self):
        """Ends every process."""
        for member in self.members.values():
            member.thaw()
            member.patroni.kill()
            member.signal_postgres(signal.SIGKILL)
        for program in self.etcd.programs.values():
            program.thaw()
            program.kill()

    async def views(self, but=None):
        """The members as Patroni sees them, at each member that answers: name to role, state and timeline."""

        async def view(member):
            try:
                answer = await member.api.send("GET", "/cluster", patience=2)
                found = answer.json()["members"] if answer.status == 200 else []
            except (NotSentError, ConnectionError, ValueError, KeyError):
                found = []
            return {seen["name"]: seen for seen in found}

        asked = [member for member in self.members.values() if member is not but]
        return [found for found in await asyncio.gather(*map(view, asked)) if found]

    async def primary(self, but=None):
        """The name of the primary by Patroni; None while there is none. `but` is not asked."""
        for view in await self.views(but):
            for name, seen in view.items():
                if seen["role"] == "leader" and seen["state"] == "running":
                    return name
        return None

    async def is_healthy(self):
        """Whether each member sees a primary, and two standbys that stream from it, one synchronously."""
        views = await self.views()
        return len(views) == len(self.members) and all(map(self._is_healthy, views))

    def _is_healthy(self, seen):
        states = sorted(found["state"] for found in seen.values())
        roles = [found["role"] for found in seen.values()]
        is_copied = not self.is_synchronous or "sync_standby" in roles
        is_one_history = len({found.get("timeline") for found in seen.values()}) == 1
        return states == ["running", "streaming", "streaming"] and is_copied and is_one_history


async def until(check, otherwise, seconds=60):
    """Waits until a check answers something that is true, and answers it."""
    try:
        async with asyncio.timeout(seconds):
            while True:
                found = await check()
                if found:
                    return found
                await asyncio.sleep(0.2)
    except TimeoutError:
        raise RuntimeError(f"{otherwise} after {seconds} s") from None
