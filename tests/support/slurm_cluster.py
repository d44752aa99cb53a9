"""A real SLURM of two nodes on loopback, for tests: its own configuration, ports, key and folder; GPUs are device files.

A warden, this file as a program, ends all that belongs to a cluster when the process that started it is gone, however it went.
"""

from __future__ import annotations

import contextlib
import getpass
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

# Clusters track a job's processes by cgroups, and then signal only the first process of each step; without it, all of them.
FREEZER = Path("/sys/fs/cgroup/freezer")
PROGRAMS = ("slurmctld", "slurmd", "munged", "sbatch", "squeue", "srun")
SBIN = ("/usr/sbin", "/sbin")

# cred_expire: a requeued job waits until its old credentials are void, two minutes if nothing is said.
CONFIGURATION = """\
ClusterName=loopback
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={port}
SlurmUser={user}
SlurmdUser={user}
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket,cred_expire=15
CryptoType=crypto/munge
CommunicationParameters=NoInAddrAny,NoCtldInAddrAny
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool/%n
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.%n.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd.%n.log
ProctrackType=proctrack/{tracking}
TaskPlugin=task/none
SwitchType=switch/none
MpiDefault=none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
SchedulerType=sched/backfill
SchedulerParameters=batch_sched_delay=0,sched_min_interval=200000,bf_interval=2
SlurmdParameters=config_overrides
ReturnToService=2
MinJobAge=3600
KillWait=30
GresTypes=gpu
{nodes}
PartitionName=gpu Nodes=ALL Default=YES MaxTime=INFINITE State=UP
PartitionName=cpu Nodes=ALL MaxTime=INFINITE State=UP
"""


def missing() -> str:
    """Return what keeps the cluster from starting here; '' for nothing."""
    absent = [name for name in PROGRAMS if _program(name) is None]
    if absent:
        return f"SLURM is not installed ({', '.join(absent)}): apt-get install slurm-wlm munge"
    return "" if os.getuid() == 0 else "the loopback cluster needs root"


def _program(name: str) -> str | None:
    return shutil.which(name, path=os.pathsep.join((os.environ.get("PATH", ""), *SBIN)))


class Cluster:
    """The running cluster.

    Attributes:
        environment: what a command needs to reach it and no other.
    """

    def __init__(self, folder: Path, nodes: int, gpus: int, cpus: int, memory_mb: int) -> None:
        self.folder, self.nodes = folder, nodes
        self.name = (
            f"c{os.getpid()}n"  # of its nodes, and by them of its cgroups, which other clusters here share
        )
        self.environment = {"SLURM_CONF": str(folder / "slurm.conf")}
        for name in ("state", "spool", "gpus", "bin"):
            (folder / name).mkdir(parents=True)
        # The executor plugin takes every SLURM_* variable from what a job starts, so srun is told once more where it is.
        srun = folder / "bin" / "srun"
        srun.write_text(f'#!/bin/sh\nSLURM_CONF={folder}/slurm.conf exec {_program("srun")} "$@"\n')
        srun.chmod(0o755)
        self.environment["PATH"] = f"{folder}/bin:{os.environ['PATH']}"
        ports = _free_ports(nodes + 1)
        host = socket.gethostname().split(".")[0]
        lines = []
        for number in range(1, nodes + 1):
            (folder / "spool" / f"{self.name}{number}").mkdir()
            lines.append(
                f"NodeName={self.name}{number} NodeHostname={host} NodeAddr=127.0.0.1 Port={ports[number]} CPUs={cpus} "
                f"RealMemory={memory_mb} Gres=gpu:{gpus} State=UNKNOWN"
            )
        for number in range(gpus):  # twins of /dev/null
            os.mknod(folder / "gpus" / f"nvidia{number}", 0o666 | 0o020000, os.makedev(1, 3))
        text = CONFIGURATION.format(
            folder=folder,
            host=host,
            port=ports[0],
            user=getpass.getuser(),
            nodes="\n".join(lines),
            tracking="cgroup" if _has_freezer() else "linuxproc",
        )
        (folder / "slurm.conf").write_text(text)
        (folder / "gres.conf").write_text(
            f"NodeName={self.name}[1-{nodes}] Name=gpu File={folder}/gpus/nvidia[0-{gpus - 1}]\n"
        )
        (folder / "cgroup.conf").write_text(
            f"CgroupPlugin=cgroup/v1\nCgroupMountpoint={FREEZER.parent}\nCgroupAutomount=no\n"
        )
        (folder / "munge.key").write_bytes(os.urandom(128))
        (folder / "munge.key").chmod(0o400)

    def start(self) -> None:
        """Start the daemons and wait for the nodes."""
        words = [sys.executable, "-S", __file__, self.environment["SLURM_CONF"], self.name]
        self._warden = subprocess.Popen(words, stdin=subprocess.PIPE, start_new_session=True)
        munge = {name: self.folder / f"munge.{name}" for name in ("socket", "key", "pid", "log", "seed")}
        self._daemon(
            "munged", "--force", f"--socket={munge['socket']}", f"--key-file={munge['key']}",
            f"--pid-file={munge['pid']}", f"--log-file={munge['log']}", f"--seed-file={munge['seed']}",
        )  # fmt: skip
        self._daemon("slurmctld", "-f", self.environment["SLURM_CONF"])
        for number in range(1, self.nodes + 1):
            self._daemon("slurmd", "-N", f"{self.name}{number}", "-f", self.environment["SLURM_CONF"])
        deadline = time.monotonic() + 120
        while self.call("sinfo", "-h", "-p", "gpu", "-t", "idle", "-o", "%D").strip() != str(self.nodes):
            if time.monotonic() > deadline:
                logs = "\n".join(p.read_text()[-2000:] for p in self.folder.glob("*.log"))
                raise RuntimeError(f"the nodes did not come up:\n{self.call('sinfo', '-R')}\n{logs}")
            time.sleep(0.2)

    def stop(self) -> None:
        """End the daemons, all jobs, and whatever else was started with the cluster's environment."""
        self._warden.communicate()  # closes its input

    def stop_controller(self) -> None:
        """Have the controller fall silent; nodes and their jobs go on."""
        pid = int((self.folder / "slurmctld.pid").read_text())
        os.kill(pid, signal.SIGKILL)

    def start_controller(self) -> None:
        """Start it, with what it knew."""
        self._daemon("slurmctld", "-f", self.environment["SLURM_CONF"])

    def call(self, *words: str) -> str:
        """The output of one of SLURM's commands."""
        done = subprocess.run(
            words, env=os.environ | self.environment, capture_output=True, text=True, timeout=120
        )
        return done.stdout + done.stderr

    def jobs(self, *states: str) -> list[dict[str, str]]:
        """The jobs in the given states (none given: every job so far), each with SLURM's own names for what it tells."""
        jobs = []
        for line in self.call("scontrol", "show", "job", "--oneliner").splitlines():
            job = dict(word.split("=", 1) for word in line.split() if "=" in word)
            if "JobId" in job and (not states or job["JobState"] in states):
                jobs.append(job)
        return jobs

    def _daemon(self, name: str, *words: str) -> None:
        done = subprocess.run(
            [str(_program(name)), *words],
            env=os.environ | self.environment,
            capture_output=True,
            text=True,
            timeout=120,
        )
        if done.returncode:
            raise RuntimeError(f"{name} did not start: {done.stdout}{done.stderr}")


def _has_freezer() -> bool:
    """Check whether groups of processes can be made here, by the older interface, which needs no systemd."""
    place = FREEZER / f"mamo-{os.getpid()}"
    try:
        place.mkdir()
        place.rmdir()
    except OSError:
        return False
    return True


def _free_ports(count: int) -> list[int]:
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]


@contextlib.contextmanager
def cluster(
    folder: Path, nodes: int = 2, gpus: int = 8, cpus: int = 16, memory_mb: int = 512_000
) -> Iterator[Cluster]:
    """A cluster that runs within the block."""
    made = Cluster(folder, nodes, gpus, cpus, memory_mb)
    try:
        made.start()
        yield made
    finally:
        made.stop()


def belonging(configuration: str) -> list[int]:
    """The processes of a cluster: those whose environment names its slurm.conf."""
    processes = []
    for path in Path("/proc").glob("[0-9]*/environ"):
        with contextlib.suppress(OSError):
            if f"SLURM_CONF={configuration}".encode() in path.read_bytes().split(b"\0"):
                processes.append(int(path.parent.name))
    return processes


def _keep_watch(configuration: str, name: str) -> None:
    """Wait for the end of the process at the other end of the pipe, then end the cluster's processes and remove its cgroups."""
    sys.stdin.read()
    deadline = time.monotonic() + 30
    while (left := belonging(configuration)) and time.monotonic() < deadline:
        for pid in left:
            with contextlib.suppress(OSError):
                os.kill(pid, signal.SIGKILL)
        time.sleep(0.2)
    while (tops := list(FREEZER.glob(f"slurm_{name}*"))) and time.monotonic() < deadline:
        for folder in (at[0] for top in tops for at in os.walk(top, topdown=False)):
            with contextlib.suppress(OSError):  # one is busy until the last of its processes is gone
                os.rmdir(folder)
        time.sleep(0.2)


if __name__ == "__main__":
    _keep_watch(*sys.argv[1:])
