"""What a user's machine may see of visavis: no child, no connection, no file outside VISAVIS_HOME."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

PHOTO = ("Colin_Powell", 2)

# Runs the whole path under an audit hook, and tells what the hook saw and which modules were loaded.
WHOLE_PATH = """
import json, os, sys

seen = []
WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
CHILDREN = ("subprocess.Popen", "os.fork", "os.forkpty", "os.exec", "os.posix_spawn", "os.system", "os.startfile",
            "pty.spawn")
CHANGES = ("os.mkdir", "os.rename", "os.remove", "os.rmdir", "os.symlink", "os.link", "os.truncate", "os.utime",
           "os.chmod", "shutil.copyfile", "shutil.move", "tempfile.mkstemp", "tempfile.mkdtemp", "sqlite3.connect")

def hook(event, args):
    if event in CHILDREN or event.startswith("socket.") or event.startswith("urllib."):
        seen.append([event, repr(args[:2])])
    elif event in CHANGES:
        seen.append([event, os.fspath(args[0])])
    elif event == "open" and isinstance(args[0], (str, bytes, os.PathLike)) and (args[2] or 0) & WRITING:
        seen.append([event, os.fspath(args[0])])

sys.addaudithook(hook)
sys.dont_write_bytecode = True
import visavis as vv
light = sorted({name.partition(".")[0] for name in sys.modules})
faces = vv.analyze(sys.argv[1])
answer = vv.verify(sys.argv[1], sys.argv[1], threshold=0.5)
batch = vv.Analyzer(threads=2, flip=True).analyze([sys.argv[1]] * 3)
print(json.dumps({"seen": seen, "light": light, "loaded": sorted(sys.modules), "faces": len(faces),
                  "vectors": faces.embeddings.vectors.shape[1], "match": answer.match,
                  "flipped": batch[0].embeddings.model}))
"""


@pytest.fixture
def clean(tmp_path, home, store, lfw_photo):
    """Return the environment of a new user, whose VISAVIS_HOME holds the models and nothing else."""
    for name in ("yunet", "sface"):
        store.path(name)
    theirs = tmp_path / "visavis"
    shutil.copytree(home / "models", theirs / "models")
    for folder in ("home", "cwd", "tmp"):
        (tmp_path / folder).mkdir()
    (tmp_path / "photo.jpg").write_bytes(lfw_photo(*PHOTO))
    # No CI, which would silence OpenVINO's telemetry, nor ORT_DISABLE_TELEMETRY, which silences ONNX Runtime's.
    kept = {name: os.environ[name] for name in ("PATH", "SYSTEMROOT", "LANG", "LD_LIBRARY_PATH") if name in os.environ}
    return {
        **kept,
        "HOME": str(tmp_path / "home"),
        "USERPROFILE": str(tmp_path / "home"),
        "TMPDIR": str(tmp_path / "tmp"),
        "VISAVIS_HOME": str(theirs),
    }


def tree(*folders: Path) -> dict[str, tuple[int, int]]:
    return {
        str(path): (path.stat().st_size, path.stat().st_mtime_ns) for folder in folders for path in folder.rglob("*")
    }


def run_whole_path(tmp_path: Path, clean: dict[str, str], *prefix: str) -> dict:
    done = subprocess.run(
        [*prefix, sys.executable, "-c", WHOLE_PATH, str(tmp_path / "photo.jpg")],
        env=clean,
        cwd=tmp_path / "cwd",
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    told = json.loads(done.stdout.splitlines()[-1])
    assert told["faces"] == 1
    assert told["match"]
    assert told["flipped"] == "sface+flip"
    return told


@pytest.mark.parametrize("engine", ["openvino", "onnxruntime"])
def test_nothing_is_started_called_or_written_elsewhere(tmp_path, clean, engine):
    clean["VISAVIS_ENGINE"] = engine
    outside = [tmp_path / "home", tmp_path / "cwd", tmp_path / "tmp", Path(clean["VISAVIS_HOME"]) / "models"]
    before = tree(*outside)
    told = run_whole_path(tmp_path, clean)
    assert tree(*outside) == before
    home = clean["VISAVIS_HOME"]
    assert [what for what in told["seen"] if not what[1].startswith((home, os.devnull))] == []
    assert bool(list((Path(home) / "compiled").glob("*.blob"))) == (engine == "openvino")


def test_what_is_loaded(tmp_path, clean):
    told = run_whole_path(tmp_path, clean)
    unneeded = {"torch", "onnx", "onnxruntime", "faiss", "sqlalchemy", "typer", "rich", "requests"}
    heavy = unneeded | {"numpy", "cv2", "PIL", "openvino", "filelock"}
    assert heavy.isdisjoint(told["light"]), "by `import visavis` alone"
    assert "openvino_telemetry" not in told["loaded"]
    assert unneeded.isdisjoint(told["loaded"]), "by analyzing a photo"


@pytest.mark.skipif(sys.platform != "linux" or not shutil.which("strace"), reason="strace is not installed")
@pytest.mark.parametrize("engine", ["openvino", "onnxruntime"])
def test_the_system_calls_say_the_same(tmp_path, clean, engine):
    """Native libraries bypass Python's audit hook; the kernel sees them."""
    clean["VISAVIS_ENGINE"] = engine
    log = tmp_path / "strace.log"
    probe = subprocess.run(["strace", "-o", os.devnull, "true"], capture_output=True)
    if probe.returncode:
        pytest.skip("strace may not trace here")
    calls = "execve,execveat,fork,vfork,clone,clone3,connect,bind,sendto,sendmsg,open,openat,creat,mkdir,mkdirat,"
    calls += "rename,renameat,renameat2,unlink,unlinkat,symlink,symlinkat,link,linkat,truncate,mknod,mknodat"
    # ?call: kernels on some architectures lack the older ones
    filters = "trace=" + ",".join(f"?{call}" for call in calls.split(","))
    run_whole_path(tmp_path, clean, "strace", "-f", "-qq", "-s", "400", "-e", filters, "-o", str(log))
    lines = [line.partition(" ")[2].strip() for line in log.read_text(errors="replace").splitlines()]
    assert [line for line in lines if line.startswith("execve")][1:] == [], "only Python itself is executed"
    assert [line for line in lines if re.match(r"(connect|bind|sendto|sendmsg)\(", line)] == []
    children = [
        line
        for line in lines
        if re.match(r"v?fork\(|clone3?\(", line) and "CLONE_THREAD" not in line and "= -1" not in line
    ]
    assert children == [], "threads are no children"
    writes = [
        line
        for line in lines
        if (re.match(r"open(at)?\(", line) and re.search(r"O_(WRONLY|RDWR|CREAT|TRUNC|APPEND)", line))
        or re.match(r"(creat|mkdir|rename|unlink|symlink|link|truncate|mknod)", line)
    ]
    allowed = (clean["VISAVIS_HOME"], "/dev/null", "/dev/shm", "/proc/self")
    assert [line for line in writes if "= -1" not in line and not any(f'"{path}' in line for path in allowed)] == []
