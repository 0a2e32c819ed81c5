"""An archive's members are unpacked whole or not at all, and what is wrong with it is named."""

import hashlib
import io
import tarfile

import pytest

from widevalley.data.files import DataUnavailable, RemoteArchive, RemoteFile, fetch_members

CONTENTS = {"set/a.bin": b"one", "set/b.bin": b"two"}


def tar(contents):
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as file:
        for name, content in reversed(contents.items()):
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            file.addfile(entry, io.BytesIO(content))
    return buffer.getvalue()


@pytest.fixture
def serve(server, tmp_path):
    """Publish these bytes as the archive of CONTENTS, under their own MD5 or another one."""

    def publish(archive, md5=None):
        (tmp_path / "server/set.tar.gz").write_bytes(archive)
        url = server + "set.tar.gz"
        members = [
            RemoteFile(name, url, hashlib.sha256(content).hexdigest())
            for name, content in CONTENTS.items()
        ]
        checksum = f"md5:{md5 or hashlib.md5(archive).hexdigest()}"
        return RemoteArchive(url, checksum, tuple(members))

    return publish


def files(folder):
    return sorted(str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file())


def test_only_the_members_stay_and_are_not_fetched_again(serve, cache, tmp_path):
    archive = serve(tar({**CONTENTS, "set/readme": b"unwanted"}))
    paths = fetch_members(archive)
    assert paths == [cache / name for name in CONTENTS]
    assert [path.read_bytes() for path in paths] == list(CONTENTS.values())
    assert files(cache) == list(CONTENTS)
    (tmp_path / "server/set.tar.gz").unlink()
    assert fetch_members(archive) == paths


def test_a_damaged_member_is_fetched_again(serve, cache):
    archive = serve(tar(CONTENTS))
    first, _ = fetch_members(archive)
    first.write_bytes(b"0ne")
    fetch_members(archive)
    assert first.read_bytes() == b"one"


@pytest.mark.parametrize(
    ("content", "md5", "reason"),
    [
        (tar(CONTENTS), "0" * 32, "MD5 hash"),
        (tar(CONTENTS)[:40], None, "cannot be unpacked"),
        (b"<html>moved</html>", None, "cannot be unpacked"),
        (tar({"set/a.bin": b"0ne"}), None, r"set/a\.bin in .* fails its checksum"),
        (tar({"set/c.bin": b"one"}), None, r"set/a\.bin is not in"),
    ],
    ids=["checksum", "cut short", "not a tar file", "wrong member", "no member"],
)
def test_what_is_wrong_is_said_and_nothing_is_left(serve, cache, content, md5, reason):
    with pytest.raises(DataUnavailable, match=reason) as caught:
        fetch_members(serve(content, md5))
    assert "set.tar.gz" in str(caught.value)
    assert "\n" not in str(caught.value)
    assert files(cache) == []


def test_no_network_is_one_line_saying_what_to_do(cache):
    url = "http://127.0.0.1:9/set.tar.gz"
    archive = RemoteArchive(url, "md5:0", (RemoteFile("set/a.bin", url, "0"),))
    with pytest.raises(DataUnavailable) as caught:
        fetch_members(archive)
    for part in ("set/a.bin", url, "WIDEVALLEY_DATA"):
        assert part in str(caught.value)


def test_the_variable_names_the_only_place_looked_at(serve, monkeypatch, tmp_path):
    monkeypatch.setenv("WIDEVALLEY_DATA", str(tmp_path / "mine"))
    archive = serve(tar(CONTENTS))
    with pytest.raises(DataUnavailable, match=r"mine/set/a\.bin is missing"):
        fetch_members(archive)
    (tmp_path / "mine/set").mkdir(parents=True)
    for name, content in CONTENTS.items():
        (tmp_path / "mine" / name).write_bytes(content)
    assert fetch_members(archive) == [tmp_path / "mine" / name for name in CONTENTS]
    (tmp_path / "mine/set/b.bin").write_bytes(b"tw")
    with pytest.raises(DataUnavailable, match=r"mine/set/b\.bin fails its checksum"):
        fetch_members(archive)
