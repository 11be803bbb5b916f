"""A VTN of OpenADR 3 on a TCP port of this machine: the paths of the OpenAPI documents 3.0.1 and
3.1, tokens, pages, and whatever faults a test wants."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

__all__ = ["CLIENT_ID", "SECRET", "Vtn", "serving_vtn"]

CLIENT_ID, SECRET = "depot", "open sesame"
_OBJECTS = ("programs", "events", "vens", "resources", "reports")
_TYPES = {name: name.removesuffix("s").upper() for name in _OBJECTS}


class Vtn:
    """What the utility's people and the tests do with it; `serving_vtn` puts it on a port."""

    def __init__(self, *, version: str = "3.1") -> None:
        self.version = version
        self.url = ""
        self.objects: dict[str, dict[str, dict[str, Any]]] = {name: {} for name in _OBJECTS}
        self.requests: list[str] = []
        self.tokens_given = 0
        self.tokens: set[str] = set()
        self.forbidden: set[str] = set()
        """Methods and paths that are answered 403, such as `POST /vens`."""
        self.unlisted: set[str] = set()
        """Objects that no list shows."""
        self.failing: int | None = None
        """The status of every answer, while set."""
        self.retry_after: str | None = None
        self.clock_ahead = timedelta()
        self.lock = threading.RLock()
        self._serial = 0
        program = self.add("programs", programName="evening peak")
        self.program_id: str = program["id"]

    def now(self) -> datetime:
        return datetime.now(UTC) + self.clock_ahead

    def add(self, kind: str, **body: Any) -> dict[str, Any]:
        with self.lock:
            self._serial += 1
            written = self.now().isoformat().replace("+00:00", "Z")
            found = {
                **body,
                "id": f"{kind[:-1]}-{self._serial}",
                "objectType": _TYPES[kind],
                "createdDateTime": written,
                "modificationDateTime": written,
            }
            self.objects[kind][found["id"]] = found
            return found

    def event(self, payload: str, value: Any, **changed: Any) -> dict[str, Any]:
        """An event of one interval, in kilowatts, from now on for an hour."""
        body: dict[str, Any] = {
            "programID": self.program_id,
            "intervalPeriod": {"start": "0001-01-01T00:00:00Z", "duration": "PT1H"},
            "intervals": [{"id": 0, "payloads": [{"type": payload, "values": [value]}]}],
            **changed,
        }
        return self.add("events", **body)

    def change(self, found: dict[str, Any], **changed: Any) -> None:
        with self.lock:
            written = self.now().isoformat().replace("+00:00", "Z")
            found.update(changed, modificationDateTime=written)

    def remove(self, found: dict[str, Any]) -> None:
        with self.lock:
            for kind in self.objects.values():
                kind.pop(found["id"], None)

    def reports(self, name: str = "") -> list[dict[str, Any]]:
        with self.lock:
            return [
                report
                for report in self.objects["reports"].values()
                if report["reportName"].startswith(name)
            ]

    # --- what it answers --------------------------------------------------------------------------

    def answer(
        self, method: str, target: str, headers: Any, content: bytes
    ) -> tuple[int, Any, dict[str, str]]:
        """Status, body and headers."""
        parts = urlsplit(target)
        self.requests.append(f"{method} {parts.path}")
        if self.failing is not None:
            told = {} if self.retry_after is None else {"Retry-After": self.retry_after}
            return self.failing, {"title": "out of order"}, told
        path = parts.path.strip("/").split("/")
        if path == ["auth", "server"] and self.version != "3.0":
            return 200, {"tokenURL": f"{self.url}/auth/token"}, {}
        if path == ["auth", "token"]:
            return self._token(parse_qs(content.decode()))
        if headers.get("Authorization", "").removeprefix("Bearer ") not in self.tokens:
            return 401, {"title": "unauthorized"}, {}
        if f"{method} {parts.path}" in self.forbidden:
            return 403, {"title": "the utility enters these"}, {}
        if self.version == "3.0" and path[0] == "vens" and len(path) == 3:
            path = ["resources"]
        elif self.version == "3.0" and path[0] == "resources":
            return 404, {"title": "no such path"}, {}
        if path[0] not in self.objects:
            return 404, {"title": "no such path"}, {}
        body = json.loads(content) if content else {}
        return self._object(method, path, parse_qs(parts.query), body)

    def _token(self, form: dict[str, list[str]]) -> tuple[int, Any, dict[str, str]]:
        if (form.get("client_id"), form.get("client_secret")) != ([CLIENT_ID], [SECRET]):
            return 401, {"error": "invalid_client"}, {}
        assert form["grant_type"] == ["client_credentials"]
        self.tokens_given += 1
        token = f"token-{self.tokens_given}"
        self.tokens.add(token)
        return 200, {"access_token": token, "token_type": "Bearer", "expires_in": 3_600}, {}

    def _object(
        self, method: str, path: list[str], query: dict[str, list[str]], body: dict[str, Any]
    ) -> tuple[int, Any, dict[str, str]]:
        kind = self.objects[path[0]]
        if len(path) == 1:
            if method == "POST":
                return self._create(path[0], body)
            return 200, self._page(path[0], query), {}
        if path[1] not in kind:
            return 404, {"title": "there is none"}, {}
        if method == "PUT":
            self.change(kind[path[1]], **body)
        return 200, kind[path[1]], {}

    def _create(self, kind: str, body: dict[str, Any]) -> tuple[int, Any, dict[str, str]]:
        wanted = {"vens": "VEN_VEN_REQUEST", "resources": "VEN_RESOURCE_REQUEST"}.get(kind)
        if wanted and (body.get("objectType") == wanted) != (self.version != "3.0"):
            return 400, {"title": "objectType"}, {}
        if kind == "reports" and ("programID" in body) != (self.version == "3.0"):
            return 400, {"title": "programID"}, {}
        if kind == "reports" and body["eventID"] not in self.objects["events"]:
            return 404, {"title": "no such event"}, {}
        return 201, self.add(kind, **body), {}

    def _page(self, kind: str, query: dict[str, list[str]]) -> list[Any]:
        with self.lock:
            found = [
                each for each in self.objects[kind].values() if each["id"] not in self.unlisted
            ]
        for name in ("programID", "venName", "resourceName", "clientName"):
            if name in query:
                found = [each for each in found if each.get(name) == query[name][0]]
        if self.version != "3.0" and kind in {"programs", "events"}:
            named = set(query.get("targets", []))
            found = [
                each for each in found if not each.get("targets") or named & set(each["targets"])
            ]
        skip, limit = int(query.get("skip", ["0"])[0]), int(query.get("limit", ["50"])[0])
        assert limit <= 50
        return found[skip : skip + limit]


@contextmanager
def serving_vtn(vtn: Vtn) -> Iterator[Vtn]:
    """Serve until left; served again, it has the same port."""

    stopped = threading.Event()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def _respond(self) -> None:
            if stopped.is_set():
                # What was kept open goes down with the server.
                self.close_connection = True
                return
            content = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            status, body, headers = vtn.answer(self.command, self.path, self.headers, content)
            text = json.dumps(body).encode()
            self.send_response_only(status)
            self.send_header("Date", format_datetime(vtn.now(), usegmt=True))
            self.send_header("Content-Length", str(len(text)))
            for name, value in headers.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(text)

        do_GET = do_POST = do_PUT = _respond

        def log_message(self, format: str, *args: Any) -> None:
            return

    port = urlsplit(vtn.url).port or 0
    server = ThreadingHTTPServer(("127.0.0.1", port), Handler)
    server.daemon_threads = True
    vtn.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield vtn
    finally:
        stopped.set()
        server.shutdown()
        server.server_close()
        thread.join()
