"""A link over TCP to a server, which a test makes so slow that answers do not come until it lets them.

Rules:
- What is asked goes on at once; what is answered waits, and arrives late, whole and in order.

Not here: who asks.
"""

from __future__ import annotations

import contextlib
import socket
import threading
from types import TracebackType


class SlowLink:
    """Listens on a free port of the loopback, as a context manager.

    Args:
        port: where the server listens on the loopback.
    """

    def __init__(self, port: int) -> None:
        self._server = port
        self._answers = threading.Event()
        self._answers.set()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._open: list[socket.socket] = []
        self.port: int = self._listener.getsockname()[1]

    def hold(self) -> None:
        """From now on no answer passes."""
        self._answers.clear()

    def release(self) -> None:
        """Those that wait pass, and so do all others."""
        self._answers.set()

    def __enter__(self) -> SlowLink:
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.release()
        for one in (self._listener, *self._open):
            with contextlib.suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
            one.close()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                server = socket.create_connection(("127.0.0.1", self._server))
                self._open += [client, server]
                threading.Thread(target=self._carry, args=(client, server, False), daemon=True).start()
                threading.Thread(target=self._carry, args=(server, client, True), daemon=True).start()

    def _carry(self, source: socket.socket, target: socket.socket, answers: bool) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(65536):
                if answers:
                    self._answers.wait()
                target.sendall(data)
        for one in (source, target):
            with contextlib.suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
