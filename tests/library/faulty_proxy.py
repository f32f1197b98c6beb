"""A web proxy with faults to order, as a process of its own: `python faulty_proxy.py HOST:PORT` (of the real server).

Prints its port. POST a JSON list to `/_faults`; each fault `{"match", "kind", "times", ...}` meets the first `times`
requests whose path and query hold `match`: `status` answers with `code`; `cut` closes after `after` bytes of the body;
`flip` changes the first byte of the body; `hold` sends `after` bytes, then nothing until the client goes away.
GET `/_log` gives method, path and Range of all requests so far.
"""

import http.client
import json
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

BACKEND = sys.argv[1]
FAULTS: list[dict] = []
LOG: list[dict] = []
LOCK = threading.Lock()
HOP_BY_HOP = {"connection", "transfer-encoding", "content-length", "keep-alive"}


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *arguments):
        pass

    def do_GET(self):
        body = self.read_body()
        if self.path == "/_log":
            return self.answer(200, [], json.dumps(LOG).encode())
        if self.path == "/_faults":
            with LOCK:
                FAULTS[:] = json.loads(body)
            return self.answer(200, [], b"")
        with LOCK:
            LOG.append({"method": self.command, "path": self.path, "range": self.headers.get("Range")})
            fault = next((f for f in FAULTS if f["match"] in self.path and f["times"] > 0), {"kind": None})
            if fault["kind"]:
                fault["times"] -= 1
        if fault["kind"] == "status":
            return self.answer(fault["code"], [("Retry-After", "0")], b"{}")
        onward = http.client.HTTPConnection(BACKEND)
        onward.request(self.command, self.path, body or None, dict(self.headers))
        answer = onward.getresponse()
        content = answer.read()
        onward.close()
        if fault["kind"] == "flip":
            content = bytes([content[0] ^ 1]) + content[1:]
        self.answer(answer.status, answer.getheaders(), content, fault)

    do_POST = do_PUT = do_DELETE = do_HEAD = do_PATCH = do_GET

    def read_body(self) -> bytes:
        if "chunked" not in self.headers.get("Transfer-Encoding", ""):
            return self.rfile.read(int(self.headers.get("Content-Length", 0)))
        body = b""
        while size := int(self.rfile.readline().strip(), 16):
            body += self.rfile.read(size)
            self.rfile.readline()
        self.rfile.readline()
        return body

    def answer(self, status, headers, content, fault=None):
        kind = (fault or {}).get("kind")
        self.send_response(status)
        for name, value in headers:
            if name.lower() not in HOP_BY_HOP:
                self.send_header(name, value)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if self.command == "HEAD":
            return
        if kind in ("cut", "hold"):
            self.wfile.write(content[: fault["after"]])
            self.wfile.flush()
            if kind == "hold":
                self.rfile.read(1)
            self.close_connection = True
        else:
            self.wfile.write(content)


class Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request, client_address):
        pass  # a client that went away is what the tests are about


if __name__ == "__main__":
    server = Server(("127.0.0.1", 0), Handler)
    print(server.server_address[1], flush=True)
    server.serve_forever()
