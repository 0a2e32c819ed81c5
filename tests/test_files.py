"""A file is written whole or not at all, whatever happens meanwhile."""

import os
import signal
import subprocess
import sys
import threading

import pytest

from widevalley._files import atomic_write, remove_partial

CONTENT = b"one, two, three"


def interrupted_write(path):
    with atomic_write(path) as file:
        file.write(b"half of it")
        raise KeyboardInterrupt


def test_a_write_that_fails_leaves_the_old_file_and_nothing_else(tmp_path):
    path = tmp_path / "new/a.bin"
    with atomic_write(path) as file:
        file.write(CONTENT)
    with pytest.raises(KeyboardInterrupt):
        interrupted_write(path)
    assert path.read_bytes() == CONTENT
    assert list(path.parent.iterdir()) == [path]


def test_a_kill_amid_writing_leaves_the_old_file(tmp_path):
    path = tmp_path / "a.bin"
    path.write_bytes(CONTENT)
    code = (
        "import sys, time; from pathlib import Path; from widevalley._files import atomic_write\n"
        "with atomic_write(Path(sys.argv[1])) as file:\n"
        "    file.write(b'half of it'); file.flush(); print('writing', flush=True)\n"
        "    time.sleep(60)"
    )
    command = [sys.executable, "-c", code, str(path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        process.stdout.readline()
        process.send_signal(signal.SIGKILL)
    assert path.read_bytes() == CONTENT
    (left,) = set(tmp_path.iterdir()) - {path}
    assert left.read_bytes() == b"half of it"
    remove_partial(tmp_path)
    assert list(tmp_path.iterdir()) == [path]


def test_the_content_is_on_disk_before_it_has_the_name(tmp_path, monkeypatch):
    done = []
    fsync, replace = os.fsync, os.replace
    monkeypatch.setattr(os, "fsync", lambda file: done.append("fsync") or fsync(file))
    monkeypatch.setattr(os, "replace", lambda *names: done.append("replace") or replace(*names))
    with atomic_write(tmp_path / "a.bin") as file:
        file.write(CONTENT)
    assert done == ["fsync", "replace"]


def test_two_writers_of_one_path_do_not_mix(tmp_path):
    path, both = tmp_path / "a.bin", threading.Barrier(2)

    def write(letter):
        with atomic_write(path) as file:
            for _ in range(100):
                file.write(letter * 1000)
            both.wait()

    writers = [threading.Thread(target=write, args=(letter,)) for letter in (b"a", b"b")]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    assert path.read_bytes() in (b"a" * 100_000, b"b" * 100_000)
    assert list(tmp_path.iterdir()) == [path]


def test_others_may_read_what_is_written(tmp_path):
    with atomic_write(tmp_path / "a.bin") as file:
        file.write(CONTENT)
    (tmp_path / "plain").write_bytes(CONTENT)
    modes = {path.stat().st_mode for path in tmp_path.iterdir()}
    assert len(modes) == 1


def test_a_run_on_a_full_disk_ends_with_one_line(tmp_path):
    """A limit on the size of files stands for the disk; what stands there already stays."""
    resource = pytest.importorskip("resource", reason="limits are POSIX's")
    command = [sys.executable, "-m", "widevalley", "train", "digits", "--runs", str(tmp_path)]
    limit = (20_000, resource.getrlimit(resource.RLIMIT_FSIZE)[1])
    done = subprocess.run(
        [*command, "--epochs", "2"], capture_output=True, text=True, check=False, cwd=tmp_path,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, limit),
    )  # fmt: skip
    checkpoint = tmp_path / "digits/entropy-sgd/seed-0/checkpoint.pt"
    assert done.returncode == 1
    assert done.stderr == f"widevalley: [Errno 27] File too large: '{checkpoint}'\n"
    assert not any(path.name.endswith(".part") for path in checkpoint.parent.iterdir())
