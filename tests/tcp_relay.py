"""A TCP relay on loopback that can turn into a black hole: connections stay open and nothing passes."""

from __future__ import annotations

import socket
import threading


class TcpRelay:
    """Relays connections from `address` to a target; while `pause` is in force, bytes wait on both sides."""

    def __init__(self, target: str) -> None:
        host, _, port = target.removeprefix("tcp://").rpartition(":")
        self._target = (host, int(port))
        self._open = threading.Event()
        self._open.set()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._sockets: list[socket.socket] = [self._listener]
        self.address = f"tcp://127.0.0.1:{self._listener.getsockname()[1]}"
        threading.Thread(target=self._accept, daemon=True).start()

    def pause(self) -> None:
        """Let nothing pass from now on."""
        self._open.clear()

    def resume(self) -> None:
        """Let everything pass again."""
        self._open.set()

    def cut(self) -> None:
        """Break all connections; new ones are still accepted."""
        for connection in self._sockets[1:]:
            connection.close()
        del self._sockets[1:]

    def close(self) -> None:
        """Free everything."""
        self.resume()
        self.cut()
        self._listener.close()

    def _accept(self) -> None:
        while True:
            try:
                near, _ = self._listener.accept()
            except OSError:
                return
            try:
                far = socket.create_connection(self._target)
            except OSError:
                near.close()
                continue
            self._sockets += [near, far]
            for source, sink in ((near, far), (far, near)):
                threading.Thread(target=self._pump, args=(source, sink), daemon=True).start()

    def _pump(self, source: socket.socket, sink: socket.socket) -> None:
        try:
            while data := source.recv(65536):
                self._open.wait()
                sink.sendall(data)
            sink.shutdown(socket.SHUT_WR)
        except OSError:
            source.close()
            sink.close()
