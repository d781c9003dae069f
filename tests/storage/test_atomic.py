"""Files that are never half-written, and what a killed process leaves of them."""

import pytest

from lowerbound.storage.atomic import remove_temporaries_of, write_atomically, write_text


def test_what_a_killed_process_left_goes_with_the_next_write(tmp_path):
    left = [tmp_path / name for name in (".x.csv.abcd_123.csv", ".x.csv.csv.abcd_123.csv", ".y.csv.abcd_123.csv")]
    for path in left:
        path.write_text("half")
    write_text(tmp_path / "x.csv", "whole")
    assert [path.exists() for path in left] == [False, True, True]  # the others are of other files


def test_what_is_being_written_is_left_alone(tmp_path):
    def write(temporary):
        remove_temporaries_of(tmp_path / "x.csv")  # as another process would that writes the same file
        assert temporary.exists()
        temporary.write_text("whole")

    write_atomically(tmp_path / "x.csv", write)
    assert (tmp_path / "x.csv").read_text() == "whole"
    assert [path.name for path in tmp_path.iterdir()] == ["x.csv"]


def test_an_interrupt_leaves_what_was_there(tmp_path):
    def interrupted(temporary):
        raise KeyboardInterrupt

    write_text(tmp_path / "x.csv", "before")
    with pytest.raises(KeyboardInterrupt):
        write_atomically(tmp_path / "x.csv", interrupted)
    assert [path.read_text() for path in tmp_path.iterdir()] == ["before"]
