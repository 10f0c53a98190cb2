"""A proxy before DynamoDB that counts calls by operation; the same for every kind of daemon."""

import http.client
import threading
from collections import Counter
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class CountingProxy:
    """Forwards to a port of this host, on a port of its own, until `end`."""

    def __init__(self, target):
        counted, lock = Counter(), threading.Lock()

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            # Headers and body are written apart: without this each answer waits for an acknowledgement.
            disable_nagle_algorithm = True

            def setup(self):
                super().setup()
                self.onward = http.client.HTTPConnection("127.0.0.1", target, timeout=60)

            def do_POST(self):
                body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
                with lock:
                    counted[self.headers.get("X-Amz-Target", "?").rpartition(".")[2]] += 1
                headers = {name: value for name, value in self.headers.items() if name.lower() not in ("host", "connection")}
                for attempt in (1, 2):
                    try:
                        self.onward.request("POST", self.path, body, headers)
                        answer = self.onward.getresponse()
                        said = answer.read()
                        break
                    except (ConnectionError, http.client.RemoteDisconnected):
                        # A kept connection that the server has closed.
                        self.onward.close()
                        if attempt == 2:
                            self.close_connection = True
                            return
                self.send_response_only(answer.status)
                for name, value in answer.getheaders():
                    if name.lower() not in ("content-length", "connection", "transfer-encoding"):
                        self.send_header(name, value)
                self.send_header("Content-Length", str(len(said)))
                self.end_headers()
                self.wfile.write(said)

            def finish(self):
                self.onward.close()
                super().finish()

        class Server(ThreadingHTTPServer):
            daemon_threads = True

            def handle_error(self, request, client_address):
                # A daemon that was killed; what matters fails in the row.
                pass

        self.counted, self.lock = counted, lock
        self.server = Server(("127.0.0.1", 0), Handler)
        self.port = self.server.server_address[1]
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def counts(self):
        with self.lock:
            return dict(self.counted)

    def end(self):
        self.server.shutdown()
        self.server.server_close()
