"""A web server, an empty user cache, and the real files where there are some."""

import os
import threading
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pooch
import pytest

CONTENT = b"one, two, three"
SHARED = Path(__file__).parents[3] / "shared" / "data"


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *args):
        pass


@pytest.fixture
def server(tmp_path):
    root = tmp_path / "server"
    root.mkdir()
    (root / "a.txt").write_bytes(CONTENT)
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=root)) as http:
        threading.Thread(target=http.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{http.server_port}/"
        http.shutdown()


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.delenv("WIDEVALLEY_DATA", raising=False)
    monkeypatch.setattr(pooch, "os_cache", lambda name: tmp_path / "cache" / name)
    return tmp_path / "cache" / "widevalley"


@pytest.fixture
def real(monkeypatch):
    """Call it with a folder's name: WIDEVALLEY_DATA then has the real one, or the test skips."""

    def need(name):
        for root in (os.environ.get("WIDEVALLEY_DATA"), SHARED):
            if root and (Path(root) / name).is_dir():
                monkeypatch.setenv("WIDEVALLEY_DATA", str(root))
                return
        pytest.skip(f"no real data: set WIDEVALLEY_DATA to a folder holding {name}")

    return need
