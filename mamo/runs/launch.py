"""Start a run's ranks: torchrun on this machine, or through srun on the nodes of a SLURM job."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from mamo.runs.lock import HELD, run_lock
from mamo.training.interruption import REQUEUE, end_with_parent, handled_signals


def launch(
    command: Sequence[str], directory: Path, processes: int, nodes: int, cpus: int | None, wait: bool
) -> int:
    """Execute a ``mamo`` command once per rank under the run's lock, unless its record is there.

    Args:
        command: the arguments of ``mamo``.
        directory: the run's.
        processes: ranks on each node, one for each GPU.
        nodes: more than one needs a SLURM job of so many nodes.
        cpus: of each node; SLURM gives a step one core if it is not told.
        wait: wait for another process that makes the run.

    Returns:
        the exit status; 75 if the ranks were asked to stop and saved their state.
    """
    directory.mkdir(parents=True, exist_ok=True)
    with run_lock(directory, wait):
        if (directory / "record.json").is_file():
            return 0
        words = [*torchrun(processes, nodes, cpus), "-m", "mamo.cli", *command]
        signals: list[int] = []
        # srun takes SIGTERM as the order to kill all ranks at once, and passes SIGUSR1 on to them.
        stop = signal.SIGTERM if nodes == 1 else signal.SIGUSR1
        me = os.getpid()
        # In its own group it gets a terminal's signals only through this process, once.
        ranks = subprocess.Popen(
            words,
            env=os.environ | {HELD: str(directory.resolve())},
            process_group=0,
            preexec_fn=lambda: end_with_parent(me, stop),
        )

        def pass_on(number: int, frame: Any) -> None:
            if not signals:  # repeated signals would keep torchrun from waiting for its ranks
                ranks.send_signal(stop)
            signals.append(number)

        before = {number: signal.signal(number, pass_on) for number in handled_signals()}
        try:
            status = ranks.wait()
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)
        return REQUEUE if signals and not (directory / "record.json").is_file() else status


def torchrun(processes: int, nodes: int, cpus: int | None) -> list[str]:
    """Build the command that starts ``processes`` ranks on each of ``nodes`` nodes, up to the program's own words."""
    run = [sys.executable, "-m", "torch.distributed.run", f"--nproc-per-node={processes}"]
    # torchrun would react to a signal that the caller ignores.
    handled = [
        *handled_signals(),
        *([signal.SIGQUIT] if signal.getsignal(signal.SIGQUIT) is not signal.SIG_IGN else []),
    ]
    run += [f"--signals-to-handle={','.join(number.name for number in handled)}"]
    if nodes == 1:
        return [*run, "--standalone"]
    job = os.environ.get("SLURM_JOB_ID", "0")
    # Jobs that share a node meet at different ports.
    meeting = f"{socket.gethostname()}:{20000 + int(job) % 10000}"
    step = ["srun", f"--nodes={nodes}", f"--ntasks={nodes}", "--ntasks-per-node=1", "--cpu-bind=none"]
    step += [f"--cpus-per-task={cpus}"] if cpus else []
    return [
        *step, *run, f"--nnodes={nodes}", "--rdzv-backend=c10d", f"--rdzv-endpoint={meeting}", f"--rdzv-id={job}",
    ]  # fmt: skip
