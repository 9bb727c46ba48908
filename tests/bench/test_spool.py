"""The benchmark of the encrypted spool keeps up with its frames."""

from pathlib import Path

from bench.spool.__main__ import measure


def test_it_frames_and_reads_both_ways(tmp_path: Path) -> None:
    found = measure(tmp_path, 8, 1)
    # Two frames each: a key's id, a nonce and a tag.
    assert round(found["encrypted_bytes"] - found["plain_bytes"]) == 72
    assert found["write_added_us"] == found["write_encrypted_us"] - found["write_plain_us"]
