"""What the tests share of object stores: a server, and buckets in it."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from tests.helpers.rollouts import ROOT

ENVIRONMENT = {
    "AWS_ACCESS_KEY_ID": "testing",
    "AWS_SECRET_ACCESS_KEY": "testing",
    "AWS_REGION": "us-east-1",
    "AWS_EC2_METADATA_DISABLED": "true",  # nobody is asked outside this machine
}


@dataclass(frozen=True)
class Store:
    """An S3 server, and a bucket in it."""

    endpoint: str
    bucket: str

    def __truediv__(self, name: str) -> str:
        return f"s3://{self.bucket}/{name}"

    def request(self, method: str, path: str) -> bytes:
        """A request without a body."""
        asked = urllib.request.Request(f"{self.endpoint}/{path}", method=method)
        with urllib.request.urlopen(asked, timeout=60) as response:
            answer: bytes = response.read()
        return answer

    def put(self, name: str, body: bytes) -> str:
        """Write an object; its URL."""
        with _files().open_output_stream(f"{self.bucket}/{name}", None) as stream:
            stream.write(body)
        return self / name

    def remove(self, name: str) -> None:
        """Remove an object."""
        _files().delete_file(f"{self.bucket}/{name}")

    def fail(self, ratio: float = 0.0, seed: int = 0, of: str = "", most: int = 0) -> None:
        """Make a share of the requests fail from now on, or the next `most` of a method."""
        self.request("PUT", f"-/fail?ratio={ratio}&seed={seed}&of={of}&most={most}")

    def deny(self, method: str) -> None:
        """Refuse a method from now on."""
        self.request("PUT", f"-/deny?method={method}")

    def counts(self) -> dict[str, int]:
        """Requests by method since the last time; ends all failures."""
        found: dict[str, int] = json.loads(self.request("GET", "-/counts"))
        return found


@contextmanager
def s3_server() -> Iterator[str]:
    """A server of its own process; its address, which the environment names from then on."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    endpoint = f"http://127.0.0.1:{port}"
    os.environ.update(ENVIRONMENT, AWS_ENDPOINT_URL=endpoint)
    server = subprocess.Popen(
        [sys.executable, "-W", "ignore", ROOT / "tests/storage/s3_server.py", str(port)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        for _ in range(200):
            try:
                urllib.request.urlopen(f"{endpoint}/-/counts", timeout=60).close()
                break
            except (urllib.error.URLError, ConnectionError):
                time.sleep(0.1)
        else:
            raise RuntimeError("the server does not answer")
        yield endpoint
    finally:
        server.kill()
        server.wait()


def store_tree(url: str) -> dict[str, bytes]:
    """Every object below a directory of a store, by its name in it, and its bytes."""
    from pyarrow.fs import FileSelector

    place, files = url.removeprefix("s3://").rstrip("/"), _files()
    selector = FileSelector(place, recursive=True, allow_not_found=True)
    found = {}
    for info in files.get_file_info(selector):
        if info.is_file:
            with files.open_input_stream(info.path, compression=None) as stream:
                found[info.path.removeprefix(place).lstrip("/")] = stream.read()
    return dict(sorted(found.items()))


def _files() -> Any:
    from pyarrow.fs import FileSystem

    return FileSystem.from_uri("s3://any/")[0]
