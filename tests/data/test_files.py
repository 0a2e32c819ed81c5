"""Files are found, checked, downloaded whole or not at all, and their absence is one line."""

import hashlib

import pytest

from widevalley.data.files import DataUnavailable, RemoteFile, fetch

CONTENT = b"one, two, three"


def remote(url, content=CONTENT):
    return RemoteFile("set/a.txt", url + "a.txt", hashlib.sha256(content).hexdigest())


def test_downloads_once(server, cache):
    path = fetch(remote(server))
    assert path == cache / "set/a.txt"
    assert path.read_bytes() == CONTENT
    assert fetch(remote("http://127.0.0.1:9/")) == path


def test_a_download_that_fails_its_checksum_leaves_nothing(server, cache):
    with pytest.raises(DataUnavailable, match=r"set/a\.txt"):
        fetch(remote(server, b"something else"))
    assert [p for p in cache.rglob("*") if p.is_file()] == []


def test_no_network_is_one_line_saying_what_to_do(cache):
    with pytest.raises(DataUnavailable) as caught:
        fetch(remote("http://127.0.0.1:9/"))
    message = str(caught.value)
    assert "\n" not in message
    for part in ("set/a.txt", "http://127.0.0.1:9/a.txt", "WIDEVALLEY_DATA"):
        assert part in message


def test_the_variable_names_the_only_place_looked_at(tmp_path, monkeypatch, server):
    monkeypatch.setenv("WIDEVALLEY_DATA", str(tmp_path / "mine"))
    with pytest.raises(DataUnavailable, match=r"mine/set/a\.txt is missing"):
        fetch(remote(server))
    path = tmp_path / "mine/set/a.txt"
    path.parent.mkdir(parents=True)
    path.write_bytes(CONTENT)
    assert fetch(remote(server)) == path
    path.write_bytes(CONTENT + b"!")
    with pytest.raises(DataUnavailable, match=r"mine/set/a\.txt fails its checksum"):
        fetch(remote(server))
