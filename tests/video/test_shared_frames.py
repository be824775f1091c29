"""Pictures in shared memory: what was drawn is what is seen, by another process too, and no file is left."""

from __future__ import annotations

import dataclasses
import json
import os
import subprocess
import sys
import textwrap
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from visavis.errors import StorageError
from visavis.video import shared_frames
from visavis.video.shared_frames import FrameReader, FrameWriter, Place, frame_folders, memory_folders


@given(sizes=st.lists(st.tuples(st.integers(1, 70), st.integers(1, 70)), min_size=1, max_size=8), seed=st.integers(0))
def test_pictures_of_any_sizes_arrive_whole(sizes: list[tuple[int, int]], seed: int, tmp_path_factory) -> None:  # type: ignore[no-untyped-def]
    folder = tmp_path_factory.mktemp("frames")
    writer, reader, rng = FrameWriter([folder]), FrameReader(), np.random.default_rng(seed)
    before = None
    for width, height in sizes:
        place, room = writer.next(width, height)
        room[:] = rng.integers(0, 256, room.shape, dtype=np.uint8)
        seen = reader.image(Place(**json.loads(json.dumps(dataclasses.asdict(place)))))
        assert seen.shape == (height, width, 3)
        assert (seen == room).all()
        assert not seen.flags.writeable
        if before is not None:  # the one before stays as it is while the next is drawn
            assert (before[0] == before[1]).all()
        before = (seen, room.copy())
    assert list(folder.iterdir()) == []  # memory without a name: nothing to clean up


def test_another_process_sees_the_same_memory(tmp_path: Path) -> None:
    place, room = FrameWriter([tmp_path]).next(3, 2)
    room[:] = 7
    assert (Path(place.file).stat().st_mode & 0o777) == 0o600
    code = (
        "import json, sys\nfrom visavis.video.shared_frames import *\n"
        "reader, place = FrameReader(), Place(**json.loads(sys.argv[1]))\n"
        "print(reader.image(place).sum(), flush=True); sys.stdin.readline(); print(reader.image(place).sum())"
    )
    command = [sys.executable, "-c", code, json.dumps(dataclasses.asdict(place))]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as child:
        assert child.stdin is not None
        assert child.stdout is not None
        assert child.stdout.readline() == "126\n"
        room[:] = 9
        child.stdin.write("\n")
        child.stdin.close()
        assert child.stdout.readline() == "162\n"


def test_memory_is_reused_until_a_picture_is_larger(tmp_path: Path) -> None:
    writer = FrameWriter([tmp_path])
    places = [writer.next(*size)[0] for size in [(40, 30), (30, 40), (10, 10), (41, 30), (40, 30)]]
    assert places[0].file == places[1].file == places[2].file != places[3].file == places[4].file
    assert places[0].offset != places[1].offset


def test_where_there_is_no_room_another_folder_is_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if not hasattr(os, "posix_fallocate"):
        pytest.skip("this system reserves no room")
    small, large = tmp_path / "small", tmp_path / "large"
    small.mkdir()
    large.mkdir()
    reserve = os.posix_fallocate

    def full(handle: int, start: int, size: int) -> None:
        if any(small.iterdir()):  # the file is in there
            raise OSError(28, "No space left on device")
        reserve(handle, start, size)

    monkeypatch.setattr(os, "posix_fallocate", full)
    place, _ = FrameWriter([small, large]).next(64, 48)
    assert Path(place.file).parent == large
    assert list(small.iterdir()) == []
    with pytest.raises(StorageError, match=r"no room for 1 MiB of frames in .*small"):
        FrameWriter([small]).next(64, 48)


def test_there_is_a_place_for_memory() -> None:
    assert all(folder.is_dir() for folder in memory_folders())


def test_what_killed_processes_left_is_removed_and_what_others_use_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shared_frames, "memory_folders", lambda: [tmp_path])
    program = """
        import sys, time
        from pathlib import Path
        from visavis.video import shared_frames
        shared_frames.memory_folders = lambda: [Path(sys.argv[1])]
        with shared_frames.frame_folders() as [folder]:
            (folder / "view-0.jpg").write_bytes(b"a face")
            print(folder, flush=True)
            time.sleep(60)
    """
    command = [sys.executable, "-c", textwrap.dedent(program), str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout is not None
        theirs = Path(other.stdout.readline().strip())
        with frame_folders() as [ours]:
            assert sorted(theirs.iterdir()) == [theirs / "view-0.jpg"]
            assert ours.parent == theirs.parent
        other.kill()
    assert theirs.exists()
    assert theirs.parent.stat().st_mode & 0o077 == 0 or os.name != "posix"
    with frame_folders() as [ours]:
        assert not theirs.exists()
    assert list(ours.parent.iterdir()) == []


@pytest.mark.skipif(os.name != "posix", reason="folders that everybody may write to")
@pytest.mark.parametrize("kind", ["open", "link"])
def test_a_folder_that_somebody_else_prepared_is_not_taken(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shared_frames, "memory_folders", lambda: [tmp_path])
    theirs = tmp_path / f"visavis-frames-{os.getuid()}"
    if kind == "link":
        (tmp_path / "elsewhere").mkdir(mode=0o700)
        theirs.symlink_to(tmp_path / "elsewhere")
    else:
        theirs.mkdir()
        theirs.chmod(0o777)
    with frame_folders() as [folder]:
        assert not list(theirs.iterdir())
        assert folder.parent.stat().st_mode & 0o077 == 0
