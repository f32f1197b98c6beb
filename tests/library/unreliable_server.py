"""A web server with the faults of real ones, as a process of its own: `python unreliable_server.py FOLDER`.

Prints its port, then serves FOLDER with ETag, Last-Modified, Range and If-Range (RFC 9110). A path `/fault=argument/x`
serves the file x with that fault; faults may follow each other. `/_log` gives all requests so far as JSON.

cut=N        closes the connection after N bytes of the body        hold=N    sends N bytes, then nothing for ever
cutonce=N    the same, in the first request alone               holdonce=N    the same, in the first request alone
norange=1    knows no Range                                         busy=N    429 with Retry-After: 0, N times
                                                                    broken=N  503 without Retry-After, N times
changed=N    from the Nth request on another file and ETag          gone=416  always 416 to a Range
weak=1       weak ETag, no date                                     bare=1    neither ETag nor date
nolength=1   no Content-Length: ends by closing                     status=N  that status
needs=TEXT   401 unless the header X-Key is TEXT                    html=1    a login page instead of the file
nohead=1     405 to HEAD                                            to=HOST:PORT  redirects to the same path there
slip=N       answers a Range with one that starts N bytes off       extra=N   sends N bytes more than the file has
"""

import hashlib
import json
import sys
import threading
from collections import Counter
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

FOLDER = Path(sys.argv[1])
LOG: list[dict] = []
SEEN: Counter = Counter()
LOCK = threading.Lock()


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *arguments):
        pass

    def do_HEAD(self):
        self.do_GET()

    def do_GET(self):
        path = self.path.partition("?")[0].lstrip("/")
        if path == "_log":
            return self.answer(200, json.dumps(LOG).encode(), {})
        *faults, name = path.split("/")
        faults = dict(fault.split("=", 1) for fault in faults)
        with LOCK:
            LOG.append({"method": self.command, "path": self.path, "headers": dict(self.headers), "status": None})
            entry = LOG[-1]
            SEEN[path] += 1
            seen = SEEN[path]
        status = self.refusal(faults, seen)
        if status:
            entry["status"] = status
            headers = {"Retry-After": "0"} if status == 429 else {}
            if status == 302:
                headers["Location"] = f"http://{faults['to']}/{name}"
            return self.answer(status, b"", headers)
        content = (FOLDER / name).read_bytes()
        if "changed" in faults and seen >= int(faults["changed"]):
            content = content[::-1]
        if "html" in faults:
            content = b"<!DOCTYPE html><html>please log in</html>"
        headers = {"Content-Type": "text/html" if "html" in faults else "application/octet-stream"}
        etag = f'"{hashlib.md5(content).hexdigest()}"'
        date = "Mon, 01 Jan 2024 00:00:00 GMT"
        if "weak" in faults:
            headers["ETag"] = f"W/{etag}"
        elif "bare" not in faults:
            headers |= {"ETag": etag, "Last-Modified": date}
        start = self.first_byte(faults, etag, date)
        if "gone" in faults and start:
            start = len(content)
        if start and start >= len(content):
            entry["status"] = 416
            return self.answer(416, b"", {"Content-Range": f"bytes */{len(content)}"})
        start = max(0, start + int(faults.get("slip", 0))) if start else 0
        if start:
            headers["Content-Range"] = f"bytes {start}-{len(content) - 1}/{len(content)}"
        entry["status"] = 206 if start else 200
        self.answer(entry["status"], content[start:] + b"x" * int(faults.get("extra", 0)), headers, faults, seen)

    def refusal(self, faults, seen) -> int | None:
        if "status" in faults:
            return int(faults["status"])
        if seen <= int(faults.get("busy", 0)):
            return 429
        if seen <= int(faults.get("broken", 0)):
            return 503
        if "needs" in faults and self.headers.get("X-Key") != faults["needs"]:
            return 401
        if "nohead" in faults and self.command == "HEAD":
            return 405
        return 302 if "to" in faults else None

    def first_byte(self, faults, etag, date) -> int:
        wanted = self.headers.get("Range")
        condition = self.headers.get("If-Range")
        if not wanted or "norange" in faults or (condition and condition not in (etag, date)):
            return 0
        return int(wanted.removeprefix("bytes=").rstrip("-"))

    def answer(self, status, content, headers, faults=None, seen=0):
        faults = faults or {}
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        if "nolength" in faults:
            self.close_connection = True
            self.send_header("Connection", "close")
        else:
            self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if self.command == "HEAD":
            return
        now = {"cut", "hold"} | ({"cutonce", "holdonce"} if seen == 1 else set())
        fault = next((name for name in faults if name in now), None)
        if fault is None:
            self.wfile.write(content)
            return
        self.wfile.write(content[: int(faults[fault])])
        self.wfile.flush()
        if fault.startswith("hold"):
            self.rfile.read(1)  # until the client goes away
        self.close_connection = True


class Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request, client_address):
        pass  # a client that went away is what the tests are about


if __name__ == "__main__":
    server = Server(("127.0.0.1", 0), Handler)
    print(server.server_address[1], flush=True)
    server.serve_forever()
