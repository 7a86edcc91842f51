"""The ranks that torchrun would start, forked from this process, which has imported all that takes long.

`ForkedRanks` takes the place of `subprocess.Popen` in `sugar.launch.local`. Like torchrun it waits for all
ranks, and ends the others when one fails.
"""

from __future__ import annotations

import os
import signal
import socket
import sys
import traceback
from collections.abc import Callable, Mapping, Sequence
from typing import NoReturn

import torch

Main = Callable[[list[str]], int]


class ForkedRanks:
    """Ranks of one group in a session of their own, so that one signal reaches them all.

    Args:
        command: torchrun's; its last two words are the arguments of every rank.
        mains: word of the command -> what a rank runs.
    """

    def __init__(
        self,
        command: Sequence[str],
        *,
        mains: Mapping[str, Main],
        env: Mapping[str, str],
        start_new_session: bool,
        preexec_fn: Callable[[], None],
    ) -> None:
        assert start_new_session
        (main,) = (mains[word] for word in command if word in mains)
        size = next(int(word.split("=")[1]) for word in command if word.startswith("--nproc-per-node="))
        sys.stdout.flush()
        sys.stderr.flush()
        self._code: int | None = None
        self.pid = os.fork()
        if self.pid == 0:
            os.setsid()
            preexec_fn()
            _lead(size, main, list(command[-2:]), env)

    def poll(self) -> int | None:
        """The group's exit code, negative for a signal; None while it runs."""
        if self._code is None:
            ended, status = os.waitpid(self.pid, os.WNOHANG)
            self._code = os.waitstatus_to_exitcode(status) if ended else None
        return self._code


def _lead(size: int, main: Main, arguments: list[str], env: Mapping[str, str]) -> NoReturn:
    """In the child: fork the ranks and wait for them; code 0 when all have it."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        place = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(server.getsockname()[1])}
    ranks = []
    for rank in range(size):
        if (process := os.fork()) == 0:
            numbers = {"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": str(size)}
            os.environ.update({**env, **place, **numbers})
            _become(main, arguments)
        ranks.append(process)
    signal.signal(signal.SIGTERM, lambda *_: None)  # the ranks get it themselves: it goes to the session
    failed = False
    for _ in range(size):
        _, status = os.wait()
        if status and not failed:
            failed = True
            os.killpg(0, signal.SIGTERM)
    os._exit(int(failed))


def _become(main: Main, arguments: list[str]) -> NoReturn:
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    torch.set_num_threads(1)
    code: object = 1
    try:
        code = main(arguments)
    except SystemExit as end:
        code = end.code
    except BaseException:  # noqa: BLE001 - a process that ends
        traceback.print_exc()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code if isinstance(code, int) else 1)
