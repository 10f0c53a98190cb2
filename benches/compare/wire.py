"""A proxy in front of Kinesis that notes when records went to the daemon: the beginning of the latency figure."""

import re
import socket
import threading
import time

NUMBER = re.compile(rb'"SequenceNumber":"(\d+)"')


class Wire:
    """Listens on `port`; `sent` is {sequence number: nanoseconds of the monotonic clock}, of each answer's last record."""

    def __init__(self, kinesis_port):
        self.sent, self.upstream = {}, kinesis_port
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self):
        while True:
            try:
                client, _ = self.listener.accept()
            except OSError:
                return
            server = socket.create_connection(("127.0.0.1", self.upstream))
            for end in (client, server):
                end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            threading.Thread(target=self._requests, args=(client, server), daemon=True).start()
            threading.Thread(target=self._answers, args=(server, client), daemon=True).start()

    def _requests(self, client, server):
        try:
            while data := client.recv(1 << 16):
                server.sendall(data)
        except OSError:
            pass
        server.close()

    def _answers(self, server, client):
        # The answers here are small: each comes in one piece.
        try:
            while data := server.recv(1 << 20):
                numbers = NUMBER.findall(data)
                if numbers:
                    # Before the bytes leave, so that nothing of the way is left out.
                    self.sent[numbers[-1].decode()] = time.monotonic_ns()
                client.sendall(data)
        except OSError:
            pass
        client.close()

    def close(self):
        self.listener.close()
