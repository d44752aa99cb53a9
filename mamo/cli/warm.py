"""A warm process that executes many short jobs: loading torch costs seconds, a fork of a process that has it does not.

``mamo reproduce`` starts one beside Snakemake on machines without a GPU and names its socket in ``MAMO_WARM``. The commands
that execute runs then hand their arguments, environment and open files to it and wait. Whatever goes wrong on the way to the
warm process, the command executes in its own process, as it does without one.
"""

from __future__ import annotations

import json
import os
import selectors
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

VARIABLE = "MAMO_WARM"
COMMANDS = ("prepare", "weights", "pretrain", "finetune")
_LIMIT = 1 << 20  # bytes of one request: arguments and environment


def hand_over(argv: Sequence[str]) -> int | None:
    """Execute the command in the warm process.

    Returns:
        its exit status, or None where there is no warm process or the command is none of its.
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
        # A signal to this process is passed on as the end of what it has to say: the job saves its state and stops.
        for number in (signal.SIGTERM, signal.SIGUSR1, signal.SIGINT):
            signal.signal(number, lambda *_: connection.shutdown(socket.SHUT_WR))
        answer = connection.recv(16)
    return int(answer) if answer else 1


@contextmanager
def warm_process(threads: int = 1) -> Iterator[dict[str, str]]:
    """Start a warm process; yields the environment in which commands find it. It ends with the block, or with this process."""
    with tempfile.TemporaryDirectory(prefix="mamo-") as folder:
        address = str(Path(folder) / "socket")
        environment = os.environ | {"OMP_NUM_THREADS": str(threads), "MKL_NUM_THREADS": str(threads)}
        process = subprocess.Popen(
            [sys.executable, "-m", "mamo.cli.warm", address], stdin=subprocess.PIPE, env=environment
        )
        try:
            yield {VARIABLE: address}
        finally:
            if process.stdin is not None:
                process.stdin.close()
            process.wait()


def serve(address: str) -> None:
    """Load what jobs need, then fork for each request until standard input ends."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as listener:
        listener.bind(address)
        listener.listen(64)  # requests that come while the modules load wait here
        _load()
        signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # handlers are reaped by the system
        with selectors.DefaultSelector() as selector:
            selector.register(listener, selectors.EVENT_READ)
            selector.register(sys.stdin, selectors.EVENT_READ)
            while True:
                ready = {key.fileobj for key, _ in selector.select()}
                if sys.stdin in ready:
                    return
                connection, _ = listener.accept()
                with connection:
                    if os.fork() == 0:
                        listener.close()
                        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
                        os._exit(_handle(connection))


def _load() -> None:
    """What every training job imports; the optimiser's first use loads torch's compiler."""
    import torch

    import mamo.training.make_data
    import mamo.training.make_finetuning
    import mamo.training.make_pretraining
    import mamo.training.make_weights  # noqa: F401

    parameter = torch.nn.Parameter(torch.zeros(1))
    parameter.grad = torch.zeros(1)
    torch.optim.AdamW([parameter], fused=True).step()


def _handle(connection: socket.socket) -> int:
    """One request: fork the job, pass on the client's going away, answer with the job's exit status."""
    data, files, _, _ = socket.recv_fds(connection, _LIMIT, 3)
    request = json.loads(data)
    job = os.fork()
    if job == 0:
        os._exit(_job(request, files))
    for file in files:
        os.close(file)
    with selectors.DefaultSelector() as selector:
        selector.register(connection, selectors.EVENT_READ)
        while True:
            ended, status = os.waitpid(job, os.WNOHANG)
            if ended:
                break
            if selector.select(0.02):
                selector.unregister(connection)
                os.kill(job, signal.SIGTERM)
                _, status = os.waitpid(job, 0)
                break
    code = os.waitstatus_to_exitcode(status)
    with suppress(OSError):
        connection.send(str(code if code >= 0 else 128 - code).encode())
    return 0


def _job(request: dict, files: list[int]) -> int:
    """The command itself, with the client's files, environment and folder."""
    from mamo.cli.main import main

    for target, file in enumerate(files):
        os.dup2(file, target)
        os.close(file)
    os.environ.clear()
    os.environ.update(request["environment"])
    os.environ.pop(VARIABLE, None)
    os.chdir(request["folder"])
    try:
        code: object = main(request["argv"])
    except SystemExit as stopped:
        code = stopped.code
    except BaseException:  # noqa: BLE001  the job's traceback belongs into its own log
        import traceback

        traceback.print_exc()
        code = 1
    sys.stdout.flush()
    sys.stderr.flush()
    return code if isinstance(code, int) else 0 if code is None else 1


if __name__ == "__main__":
    serve(sys.argv[1])
