"""The nemesis: what is done to the running cluster, each kind by its name."""

import asyncio
import json
import signal

from database import PATRONI, until

RECOVERY_S = 120
# For how long something is frozen or cut off: longer than Patroni's ttl.
FROZEN_S = 30
# After this time a replica that is cut off knows it: a heartbeat counts for two seconds.
NOTICED_S = 5
# For how long its last heartbeat lets a replica answer reads: store.max_staleness and the way.
STALENESS_S = 2.5


class Nemesis:
    """Strikes, repairs, and waits until all is well."""

    def __init__(self, database, replicas, ledger, random):
        self.database, self.replicas, self.ledger, self.random = database, replicas, ledger, random

    async def strike(self, kind):
        """One fault of this kind, from its beginning to the recovery."""
        fault = self.ledger.fault(kind)
        await KINDS[kind](self, fault)
        fault.ended = self.ledger.now()
        await self.repair()
        fault.recovered = self.ledger.now()
        return fault

    async def repair(self):
        """Restores what was cut, starts what was killed, thaws what was frozen; waits until all is well."""
        self.database.network.restore()
        for program in self.database.etcd.programs.values():
            program.thaw()
            if not program.is_running():
                program.start()
        for member in self.database.members.values():
            member.thaw()
            if not member.patroni.is_running():
                member.patroni.start()
        for replica in self.replicas.all:
            replica.program.thaw()
            if not replica.program.is_running():
                replica.program.start()
        await until(self.database.is_healthy, "the database has not recovered", RECOVERY_S)
        await until(self.replicas.are_ready, "a replica is not ready", RECOVERY_S)

    async def primary(self):
        """The member that is the primary."""
        return self.database.members[await until(self.database.primary, "there is no primary")]

    async def successor(self, former):
        """Waits until another member is the primary."""

        async def other():
            # What the former one says can be old.
            found = await self.database.primary(but=former)
            return found if found not in (None, former.name) else None

        return await until(other, "no standby was promoted", RECOVERY_S)

    def kill(self, member, fault):
        """A machine that fails: PostgreSQL and its Patroni."""
        member.patroni.thaw()
        member.patroni.kill()
        member.signal_postgres(signal.SIGKILL)
        fault.kills += 1

    async def postgres_killed(self, fault):
        """SIGKILL to all processes of the primary; Patroni starts it again or another one takes over."""
        (await self.primary()).signal_postgres(signal.SIGKILL)
        fault.kills += 1
        await asyncio.sleep(5)

    async def machine_killed(self, fault):
        """SIGKILL to the primary and its Patroni, which stay away until another one has taken over."""
        former = await self.primary()
        self.kill(former, fault)
        await self.successor(former)

    async def senders_frozen_then_killed(self, fault):
        """The primary can send nothing to its standbys for a while, and is killed then."""
        former = await self.primary()
        former.signal_postgres(signal.SIGSTOP, "walsender")
        frozen = self.ledger.now()
        await asyncio.sleep(6)
        if self.database.is_synchronous:
            fault.silent = [frozen + 0.5, self.ledger.now()]
        self.kill(former, fault)
        await self.successor(former)

    async def patroni_frozen(self, fault):
        """Patroni of the primary is frozen, PostgreSQL is not: two primaries, until it wakes up."""
        former = await self.primary()
        former.patroni.freeze()
        await self.successor(former)
        await asyncio.sleep(10)

    async def machine_frozen(self, fault):
        """PostgreSQL and Patroni of the primary are frozen, and wake up as a primary."""
        former = await self.primary()
        former.patroni.freeze()
        former.signal_postgres(signal.SIGSTOP)
        await self.successor(former)
        await asyncio.sleep(5)
        former.signal_postgres(signal.SIGCONT)
        await asyncio.sleep(3)

    async def standbys_frozen(self, fault):
        """No second copy: nothing may be acknowledged."""
        primary = await self.primary()
        for member in self.database.members.values():
            if member is not primary:
                member.patroni.freeze()
                member.signal_postgres(signal.SIGSTOP)
        frozen = self.ledger.now()
        await asyncio.sleep(12)
        fault.silent = [frozen + 0.5, self.ledger.now()]

    async def replica_killed(self, fault):
        """SIGKILL to a keyfob."""
        self.random.choice(self.replicas.all).program.kill()
        fault.kills += 1
        await asyncio.sleep(5)

    async def replica_frozen(self, fault):
        """A keyfob that answers nothing for half a minute, and then what it had been asked."""
        replica = self.random.choice(self.replicas.all)
        fault.replica = replica.name
        replica.program.freeze()
        await asyncio.sleep(FROZEN_S)

    async def replica_cut_off(self, fault):
        """A keyfob reaches no PostgreSQL for half a minute. It must answer 503, and the others must go on."""
        replica = self.random.choice(self.replicas.all)
        for link in replica.links.values():
            link.cut()
        cut = self.ledger.now()
        await asyncio.sleep(NOTICED_S)
        if await replica.is_ready():
            fault.failures.append(f"{replica.name} is ready without a database")
        await asyncio.sleep(FROZEN_S - NOTICED_S)
        fault.replica, fault.silent = replica.name, [cut + 0.5, self.ledger.now()]

    async def primary_cut_off(self, fault):
        """The primary reaches no etcd, and no standby reaches it. Every keyfob reaches all of them."""
        await self._cut_off(await self.primary(), fault)

    async def machine_cut_off(self, fault):
        """The same, and no keyfob reaches the primary either: its commits in progress are never answered."""
        former = await self.primary()
        for replica in self.replicas.all:
            replica.links[former.name].cut()
        await self._cut_off(former, fault)

    async def _cut_off(self, former, fault):
        for link in former.links:
            link.cut()
        cut = self.ledger.now()
        # The lock in etcd is at most one round of Patroni older than the cut.
        fault.silent = [cut + 0.5, cut + PATRONI["ttl"] - PATRONI["loop_wait"] - 1]
        await self.successor(former)
        if await former.accepts_writes():
            fault.failures.append(f"{former.name} was not demoted before another one was promoted")
        await asyncio.sleep(10)

    async def replica_with_former_primary(self, fault):
        """Two primaries, and one keyfob reaches the former one alone. It must answer 503; the others go on."""
        former, replica = await self.primary(), self.random.choice(self.replicas.all)
        former.patroni.freeze()
        for link in former.links:
            link.cut()
        for name, link in replica.links.items():
            if name != former.name:
                link.cut()
        cut = self.ledger.now()
        await self.successor(former)
        await asyncio.sleep(10)
        if not await former.accepts_writes():
            fault.failures.append(f"{former.name} was demoted, so that nothing was shown")
        fault.replica, fault.is_failover = replica.name, True
        fault.silent = [cut + STALENESS_S, self.ledger.now()]

    async def etcd_leader_killed(self, fault):
        """SIGKILL to the leader of etcd."""
        self.database.etcd.programs[await until(self.database.etcd.leader, "etcd has no leader")].kill()
        fault.kills += 1
        await asyncio.sleep(10)

    async def switchover(self, fault):
        """A planned change of the primary."""
        former = await self.primary()
        body = json.dumps({"leader": former.name}).encode()
        headers = {"Content-Type": "application/json"}
        response = await former.api.send("POST", "/switchover", body, headers, patience=60)
        if response.status != 200:
            raise RuntimeError(f"no switchover: {response.status} {response.body}")
        await self.successor(former)

    async def rolling_restart(self, fault):
        """Each keyfob is stopped cleanly and started again, one after the other."""
        for replica in self.replicas.all:
            await replica.stop()
            replica.program.start()
            await until(replica.is_ready, f"{replica.name} is not ready")


KINDS = {
    "postgres-killed": Nemesis.postgres_killed,
    "machine-killed": Nemesis.machine_killed,
    "senders-frozen-then-killed": Nemesis.senders_frozen_then_killed,
    "patroni-frozen": Nemesis.patroni_frozen,
    "machine-frozen": Nemesis.machine_frozen,
    "standbys-frozen": Nemesis.standbys_frozen,
    "replica-killed": Nemesis.replica_killed,
    "replica-frozen": Nemesis.replica_frozen,
    "replica-cut-off": Nemesis.replica_cut_off,
    "replica-with-former-primary": Nemesis.replica_with_former_primary,
    "primary-cut-off": Nemesis.primary_cut_off,
    "machine-cut-off": Nemesis.machine_cut_off,
    "etcd-leader-killed": Nemesis.etcd_leader_killed,
    "switchover": Nemesis.switchover,
    "rolling-restart": Nemesis.rolling_restart,
}
