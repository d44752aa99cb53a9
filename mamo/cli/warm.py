"""A warm process that executes many short jobs: loading torch costs seconds, a fork of a process that has it does not.

``mamo reproduce`` starts one beside Snakemake on machines without a GPU and names its socket in ``MAMO_WARM``. The commands
that execute runs then hand their arguments, environment and open files to it and wait. If anything goes wrong on the way to
the warm process, the command executes in its own process, as it does without one.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from mamo.training.interruption import handled_signals

VARIABLE = "MAMO_WARM"
COMMANDS = ("prepare", "weights", "pretrain", "finetune", "figure")
# For jobs on CPUs, by the workflow and here: memory is kept rather than given back, and taken in huge pages. It spares page
# faults and address translations, a quarter of a training step. malloc reads it when a process starts, so a job that is forked
# has the warm process's. Other C libraries than glibc ignore it.
MALLOC = {
    "MALLOC_MMAP_THRESHOLD_": "1073741824",
    "MALLOC_TRIM_THRESHOLD_": "4294967296",
    "MALLOC_TOP_PAD_": "268435456",
    "GLIBC_TUNABLES": "glibc.malloc.hugetlb=1",
}
LIMIT = 1 << 20  # bytes of one request: arguments and environment


def hand_over(argv: Sequence[str]) -> int | None:
    """Execute the command in the warm process.

    Returns:
        its exit status, or None if there is no warm process or it does not take this command.
    """
    address = os.environ.get(VARIABLE)
    if not address or not argv or argv[0] not in COMMANDS or "WORLD_SIZE" in os.environ:
        return None
    request = json.dumps(
        {"argv": list(argv), "environment": dict(os.environ), "folder": os.getcwd()}
    ).encode()
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as connection:
        try:
            connection.connect(address)
            socket.send_fds(connection, [request], [0, 1, 2])
        except OSError:
            return None

        # A signal to this process closes the sending side of the connection: the job then saves its state and stops.
        def ask(*_: object) -> None:
            with suppress(OSError):  # it has ended meanwhile
                connection.shutdown(socket.SHUT_WR)

        for number in handled_signals():
            signal.signal(number, ask)
        answer = connection.recv(16)
    return int(answer) if answer else 1


@contextmanager
def warm_process() -> Iterator[dict[str, str]]:
    """Start a warm process and yield the environment in which commands find it. It ends with the block, or with this process.

    The end of the block does not wait for modules that are still loading. Jobs are processes of their own, which end with their
    clients.
    """
    with tempfile.TemporaryDirectory(prefix="mamo-") as folder:
        address = str(Path(folder) / "socket")
        environment = os.environ | MALLOC
        environment |= {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
        process = subprocess.Popen(
            [sys.executable, "-m", "mamo.cli.warm_server", address],
            stdin=subprocess.PIPE,
            env=environment,
            process_group=0,  # a terminal's signals are for the clients, which tell their jobs
        )
        try:
            yield {VARIABLE: address}
        finally:
            if process.stdin is not None:
                process.stdin.close()
            process.kill()
            process.wait()
