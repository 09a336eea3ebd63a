"""An S3 server on loopback that can be told to fail: `python tests/storage/s3_server.py PORT`.

PUT /-/fail?ratio=0.1&seed=7 makes that share of requests fail, each in one of the ways in which a
real one does; with &of=GET&most=9 only that many of one method, with an internal error. PUT
/-/deny?method=PUT refuses a method. GET /-/counts says how many requests of each method there were
since the last time. Each of them ends what was told before.
"""

from __future__ import annotations

import json
import logging
import random
import sys
import threading
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from typing import Any
from urllib.parse import parse_qsl

from moto.server import DomainDispatcherApplication, create_backend_app
from werkzeug.serving import run_simple

ERROR = "<?xml version='1.0'?><Error><Code>{}</Code><Message>told to fail</Message></Error>"


class Unreliable:
    """The server's application, before which some requests fail."""

    def __init__(self, app: Callable[..., Any]) -> None:
        self._app, self._lock = app, threading.Lock()
        self._ratio, self._random, self._denied = 0.0, random.Random(0), ""
        self._of, self._most = "", 0
        self._counts: Counter[str] = Counter()

    def __call__(self, environ: dict[str, Any], start: Callable[..., Any]) -> Iterable[bytes]:
        path, method = environ["PATH_INFO"], environ["REQUEST_METHOD"]
        if path.startswith("/-/"):
            return self._control(path, dict(parse_qsl(environ["QUERY_STRING"])), start)
        with self._lock:
            self._counts[method] += 1
            fails, how = self._random.random() < self._ratio, self._random.randrange(3)
            if method == self._of and self._most > 0:
                self._most -= 1
                fails, how = True, 0
        if method == self._denied:
            return self._refuse(environ, start, "403 Forbidden", "AccessDenied")
        if fails and how == 0:
            return self._refuse(environ, start, "500 Internal Server Error", "InternalError")
        if fails and how == 1:
            return self._refuse(environ, start, "503 Slow Down", "SlowDown")
        body = b"".join(self._app(environ, start))
        return self._broken(body) if fails and method == "GET" else [body]

    def _control(
        self, path: str, query: dict[str, str], start: Callable[..., Any]
    ) -> Iterable[bytes]:
        counts = dict(self._counts)
        self._ratio = float(query.get("ratio", 0))
        self._random = random.Random(int(query.get("seed", 0)))
        self._of, self._most = query.get("of", ""), int(query.get("most", 0))
        self._denied = query.get("method", "")
        self._counts.clear()
        start("200 OK", [("Content-Type", "application/json")])
        return [json.dumps(counts).encode()]

    def _refuse(
        self, environ: dict[str, Any], start: Callable[..., Any], status: str, code: str
    ) -> Iterable[bytes]:
        environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
        start(status, [("Content-Type", "application/xml")])
        return [ERROR.format(code).encode()]

    def _broken(self, body: bytes) -> Iterator[bytes]:
        """Half of what was promised."""
        yield body[: len(body) // 2]
        raise ConnectionError("told to fail")


if __name__ == "__main__":
    logging.getLogger("werkzeug").setLevel(logging.CRITICAL)
    app = Unreliable(DomainDispatcherApplication(create_backend_app))
    run_simple("127.0.0.1", int(sys.argv[1]), app, threaded=True)
