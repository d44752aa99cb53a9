"""The warm process itself: it loads what jobs need, then forks for each request (see :mod:`mamo.cli.warm`)."""

from __future__ import annotations

import json
import os
import selectors
import signal
import socket
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

from mamo.cli.main import main
from mamo.cli.warm import LIMIT, VARIABLE
from mamo.training.interruption import end_with_parent


def serve(address: str) -> None:
    """Load what jobs need, then fork for each request until standard input ends."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as listener:
        listener.bind(address)
        listener.listen(64)  # requests that come while the modules load wait here
        _import_ahead()
        signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # handlers are reaped by the system
        with selectors.DefaultSelector() as selector:
            selector.register(listener, selectors.EVENT_READ)
            selector.register(sys.stdin, selectors.EVENT_READ)
            while True:
                ready = {key.fileobj for key, _ in selector.select()}
                if sys.stdin in ready:
                    with suppress(OSError):  # the parent may have been killed and cannot do it
                        Path(address).unlink()
                        Path(address).parent.rmdir()
                    return
                connection, _ = listener.accept()
                with connection:
                    if os.fork() == 0:
                        listener.close()
                        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
                        os._exit(_handle(connection))


def _import_ahead() -> None:
    """Import what training jobs and figures need; the optimiser's first use loads torch's compiler."""
    import pytorch_grad_cam.base_cam  # noqa: F401  with matplotlib and OpenCV: half of what a figure takes
    import torch

    import mamo.figures.maps
    import mamo.figures.publish
    import mamo.runs.make_data
    import mamo.runs.make_finetuning
    import mamo.runs.make_pretraining
    import mamo.runs.make_weights  # noqa: F401
    from mamo.specs.code import running_code

    running_code()  # jobs run what is loaded now, even if files are edited later
    parameter = torch.nn.Parameter(torch.zeros(1))
    parameter.grad = torch.zeros(1)
    torch.optim.AdamW([parameter], fused=True).step()


def _handle(connection: socket.socket) -> int:
    """Serve one request: fork the job, stop it if the client goes away, answer with its exit status."""
    data, files, _, _ = socket.recv_fds(connection, LIMIT, 3)
    request = json.loads(data)
    me = os.getpid()
    job = os.fork()
    if job == 0:
        end_with_parent(me)
        os._exit(_run_command(request, files))
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


def _run_command(request: dict[str, Any], files: list[int]) -> int:
    """Run the command itself, with the client's files, environment and folder."""
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
