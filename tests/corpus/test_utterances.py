from __future__ import annotations

import os
from pathlib import Path

import pytest

from corpus.utterances import Corpus, SkippedEntry, Utterance, is_held_out, read_corpus, require_usable
from hparams import UserError


def audio(path: Path) -> Path:
    """Create an empty audio file: readers of metadata only check that it exists."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch()
    return path


def ids(corpus: Corpus) -> list[str]:
    return [utterance.id for utterance in corpus.utterances]


def test_ljspeech_uses_the_normalised_text(tmp_path: Path) -> None:
    a = audio(tmp_path / "wavs" / "a.wav")
    (tmp_path / "metadata.csv").write_text("a|Dr. Who, 5|Doctor Who, five\n")
    corpus = read_corpus(str(tmp_path), "auto")
    assert corpus == Corpus("ljspeech", (Utterance("a", a, "Doctor Who, five"),), ())


@pytest.mark.parametrize("subfolder", ["wavs", "RUSLAN", "."])
def test_ruslan_finds_recordings_beside_or_in_a_subfolder(tmp_path: Path, subfolder: str) -> None:
    a = audio(tmp_path / subfolder / "000000_RUSLAN.wav")
    (tmp_path / "metadata_RUSLAN_22200.csv").write_text("000000_RUSLAN|С тревожным чувством\n", encoding="utf-8")
    corpus = read_corpus(str(tmp_path), "auto")
    assert corpus == Corpus("ruslan", (Utterance("000000_RUSLAN", a, "С тревожным чувством"),), ())


def test_an_id_with_a_dot_is_not_mistaken_for_a_file_name(tmp_path: Path) -> None:
    a = audio(tmp_path / "wavs" / "v1.5.wav")
    (tmp_path / "metadata.csv").write_text("v1.5|one\n")
    assert read_corpus(str(tmp_path), "auto").utterances == (Utterance("v1.5", a, "one"),)


def test_paths_are_relative_to_the_file_list_or_to_the_current_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    beside, absolute = audio(tmp_path / "data" / "wavs" / "a.wav"), audio(tmp_path / "elsewhere" / "c.wav")
    audio(tmp_path / "here" / "b.flac")
    monkeypatch.chdir(tmp_path / "here")
    file_list = tmp_path / "data" / "all.txt"
    file_list.write_text(f"wavs/a.wav|one\nb.flac|two|anna\n{absolute}|three\n")
    corpus = read_corpus(str(file_list), "auto")
    assert corpus.format == "filelist"
    assert corpus.utterances == (
        Utterance("a", beside, "one"),
        Utterance("b", Path("b.flac"), "two", "anna"),
        Utterance(str(absolute.with_suffix("")), absolute, "three"),
    )


@pytest.mark.parametrize("validation", ["validation.txt", "val.txt"])
def test_a_folder_with_two_lists_states_the_split(tmp_path: Path, validation: str) -> None:
    audio(tmp_path / "wavs" / "a.wav"), audio(tmp_path / "wavs" / "b.wav")
    (tmp_path / "train.txt").write_text("wavs/a.wav|one\n")
    (tmp_path / validation).write_text("wavs/b.wav|two\n")
    corpus = read_corpus(str(tmp_path), "auto")
    assert [(u.id, u.split) for u in corpus.utterances] == [("a", "train"), ("b", "validation")]


def test_two_lists_on_the_command_line_state_the_split(tmp_path: Path) -> None:
    a, b = audio(tmp_path / "a.wav"), audio(tmp_path / "b.wav")
    (tmp_path / "one.txt").write_text(f"{a}|one\n")
    (tmp_path / "two.txt").write_text(f"{b}|two\n{a}|again\n")
    corpus = read_corpus(f"{tmp_path / 'one.txt'},{tmp_path / 'two.txt'}", "auto")
    assert [u.split for u in corpus.utterances] == ["train", "validation"]
    assert len(corpus.skipped) == 1 and corpus.skipped[0].where == "two.txt:2"


@pytest.mark.parametrize("data", ["one.txt,absent.txt", "one.txt,one.txt,one.txt"])
def test_lists_other_than_two_existing_ones_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, data: str
) -> None:
    (tmp_path / "one.txt").write_text("a.wav|one\n")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match="two file lists"):
        read_corpus(data, "auto")


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("table.csv", 'file,sentence,speaker\na.wav,"yes, one",anna\n'),
        ("table.csv", 'Speaker;Text;Path\nanna;"yes, one";a.wav\n'),
        ("table.tsv", "client_id\tpath\tsentence\nanna\ta.wav\tyes, one\n"),
        ("table.csv", "audio_file|text|speaker_name\na.wav|yes, one|anna\n"),
    ],
)
def test_tables_are_read_by_their_header(tmp_path: Path, name: str, content: str) -> None:
    a = audio(tmp_path / "clips" / "a.wav")
    (tmp_path / name).write_text(content)
    assert read_corpus(str(tmp_path), "auto") == Corpus("csv", (Utterance("a", a, "yes, one", "anna"),), ())


def test_a_table_row_with_an_open_quote_costs_only_itself(tmp_path: Path) -> None:
    audio(tmp_path / "a.wav"), audio(tmp_path / "b.wav")
    (tmp_path / "t.csv").write_text('path,text\na.wav,"open\nb.wav,two\n')
    corpus = read_corpus(str(tmp_path), "auto")
    assert ids(corpus) == ["b"]
    assert [entry.where for entry in corpus.skipped] == ["t.csv:2"]


def test_a_table_without_a_header_is_refused(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("a.wav,one\n")
    with pytest.raises(UserError, match="header"):
        read_corpus(str(tmp_path / "t.csv"), "csv")


def test_pairs_are_found_in_nested_folders(tmp_path: Path) -> None:
    a, b = audio(tmp_path / "x" / "1.wav"), audio(tmp_path / "y" / "1.FLAC")
    a.with_suffix(".txt").write_text("one\ntwo\n")
    b.with_suffix(".txt").write_text("three")
    audio(tmp_path / "lonely.ogg"), audio(tmp_path / ".hidden.wav")
    (tmp_path / "y" / "silent.txt").write_text("no recording")
    corpus = read_corpus(str(tmp_path), "auto")
    assert corpus.utterances == (Utterance("x/1", a, "one two"), Utterance("y/1", b, "three"))
    assert {entry.where for entry in corpus.skipped} == {"lonely.ogg", "y/silent.txt"}


def test_a_transcript_with_a_bar_is_not_mistaken_for_metadata(tmp_path: Path) -> None:
    audio(tmp_path / "1.wav").with_suffix(".txt").write_text("either|or")
    corpus = read_corpus(str(tmp_path), "auto")
    assert (corpus.format, [u.text for u in corpus.utterances]) == ("paired", ["either|or"])


def test_folders_linked_in_a_cycle_are_visited_once(tmp_path: Path) -> None:
    audio(tmp_path / "x" / "1.wav").with_suffix(".txt").write_text("one")
    os.symlink(tmp_path, tmp_path / "x" / "loop")
    assert ids(read_corpus(str(tmp_path), "auto")) == ["x/1"]


def test_a_stated_format_overrides_detection(tmp_path: Path) -> None:
    audio(tmp_path / "a.wav").with_suffix(".txt").write_text("paired")
    (tmp_path / "metadata.csv").write_text("a|raw|normalised\n")
    texts = {name: read_corpus(str(tmp_path), name).utterances[0].text for name in ("auto", "ljspeech", "paired")}
    assert texts == {"auto": "normalised", "ljspeech": "normalised", "paired": "paired"}


def test_one_broken_first_row_does_not_change_the_format(tmp_path: Path) -> None:
    audio(tmp_path / "b.wav"), audio(tmp_path / "c.wav")
    (tmp_path / "metadata.csv").write_text("a|x\nb|raw|two\nc|raw|three\n")
    corpus = read_corpus(str(tmp_path), "auto")
    assert corpus.format == "ljspeech" and ids(corpus) == ["b", "c"]


def test_byte_order_mark_and_windows_line_ends_are_removed(tmp_path: Path) -> None:
    audio(tmp_path / "a.wav"), audio(tmp_path / "b.wav")
    (tmp_path / "metadata.csv").write_bytes("\ufeffa|один\r\n\r\nb|два\u2028три\r\nbroken\r\n".encode())
    corpus = read_corpus(str(tmp_path), "auto")
    assert [(u.id, u.text) for u in corpus.utterances] == [("a", "один"), ("b", "два\u2028три")]
    assert [entry.where for entry in corpus.skipped] == ["metadata.csv:4"]


def test_text_that_is_not_utf8_is_refused_with_file_line_and_byte(tmp_path: Path) -> None:
    (tmp_path / "metadata.csv").write_bytes(b"a|ok\nb|" + "два".encode("cp1251"))
    with pytest.raises(UserError, match=r"metadata\.csv:2: expected UTF-8 text, got byte 0xe4 at offset 7") as caught:
        read_corpus(str(tmp_path), "auto")
    assert "\n" not in str(caught.value)


def test_broken_rows_are_skipped_by_file_and_line(tmp_path: Path) -> None:
    audio(tmp_path / "wavs" / "a.wav"), audio(tmp_path / "wavs" / "b.wav"), audio(tmp_path / "x.wav")
    rows = ["a|raw|one", "a|raw|again", "b|raw|", "gone|raw|text", "b|two columns", "../x|raw|text", "/x|r|t", "|r|t"]
    (tmp_path / "metadata.csv").write_text("\n".join(rows))
    corpus = read_corpus(str(tmp_path), "ljspeech")
    assert ids(corpus) == ["a"]
    assert corpus.skipped[0] == SkippedEntry("metadata.csv:2", "duplicate id 'a', first at metadata.csv:1")
    expected = ["duplicate", "transcript", "no audio", "3 columns", *["cannot be an id"] * 3]
    assert [entry.where for entry in corpus.skipped] == [f"metadata.csv:{n}" for n in range(2, 9)]
    assert all(word in entry.reason for word, entry in zip(expected, corpus.skipped, strict=True))


@pytest.mark.parametrize(
    ("row", "reason"),
    [("|text", "empty"), ("one column", "1 columns"), ("b.wav|b|c|d", "4 columns"), ("wavs|text", "no audio file")],
)
def test_broken_file_list_rows_are_skipped(tmp_path: Path, row: str, reason: str) -> None:
    audio(tmp_path / "wavs" / "a.wav"), audio(tmp_path / "wavs" / "b.wav")
    (tmp_path / "list.txt").write_text(f"wavs/a.wav|one\n{row}\n")
    corpus = read_corpus(str(tmp_path / "list.txt"), "filelist")
    assert ids(corpus) == ["a"] and [entry.where for entry in corpus.skipped] == ["list.txt:2"]
    assert reason in corpus.skipped[0].reason


@pytest.mark.parametrize("row", ["b.wav", "b.wav,unquoted, text"])
def test_table_rows_with_the_wrong_number_of_columns_are_skipped(tmp_path: Path, row: str) -> None:
    audio(tmp_path / "a.wav"), audio(tmp_path / "b.wav")
    (tmp_path / "t.csv").write_text(f"path,text\na.wav,one\n{row}\n")
    corpus = read_corpus(str(tmp_path), "auto")
    assert ids(corpus) == ["a"] and "expected 2 columns" in corpus.skipped[0].reason


def test_a_path_does_not_match_a_file_of_the_same_name_in_another_folder(tmp_path: Path) -> None:
    audio(tmp_path / "old" / "a.wav"), audio(tmp_path / "new" / "b.wav")
    (tmp_path / "list.txt").write_text("new/a.wav|one\nwavs/a.wav|one\nnew/b.wav|two\n")
    assert ids(read_corpus(str(tmp_path / "list.txt"), "auto")) == ["new/b"]


@pytest.mark.parametrize("content", ["", "\n \n", "\ufeff"])
@pytest.mark.parametrize("data_format", ["auto", "ljspeech", "ruslan", "filelist"])
def test_empty_metadata_is_refused(tmp_path: Path, content: str, data_format: str) -> None:
    (tmp_path / "metadata.csv").write_text(content, encoding="utf-8")
    with pytest.raises(UserError, match="empty"):
        read_corpus(str(tmp_path), data_format)


def test_missing_or_unreadable_data_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no such file or folder"):
        read_corpus(str(tmp_path / "absent"), "auto")
    with pytest.raises(UserError, match="found no metadata"):
        read_corpus(str(tmp_path), "auto")
    (tmp_path / "README.txt").write_text("A folder of something else.\n")
    with pytest.raises(UserError, match="found no metadata"):
        read_corpus(str(tmp_path), "auto")
    with pytest.raises(UserError, match="format is not recognised"):
        read_corpus(str(tmp_path / "README.txt"), "auto")
    with pytest.raises(UserError, match="needs a folder"):
        read_corpus(str(tmp_path / "README.txt"), "paired")
    with pytest.raises(UserError, match="data_format 'json'"):
        read_corpus(str(tmp_path), "json")


def test_several_tables_are_refused_unless_one_is_named(tmp_path: Path) -> None:
    audio(tmp_path / "a.wav")
    for name in ("train.tsv", "test.tsv"):
        (tmp_path / name).write_text("path\ttext\na.wav\tone\n")
    with pytest.raises(UserError, match=r"test\.tsv, train\.tsv"):
        read_corpus(str(tmp_path), "auto")
    assert ids(read_corpus(str(tmp_path / "test.tsv"), "auto")) == ["a"]


def test_fewer_than_two_utterances_are_refused_with_the_first_reason(tmp_path: Path) -> None:
    one, two = (Utterance(id, tmp_path, "text") for id in "ab")
    with pytest.raises(UserError, match="at least 2 .* got 1 .* x:3: broken"):
        require_usable(Corpus("ruslan", (one,), (SkippedEntry("x:3", "broken"),)))
    require_usable(Corpus("ruslan", (one, two), ()))


def test_a_stated_split_overrides_the_hash(tmp_path: Path) -> None:
    assert is_held_out(Utterance("a", tmp_path, "text", split="validation"), 0)
    assert not is_held_out(Utterance("a", tmp_path, "text", split="train"), 100)


def test_the_hash_of_the_id_holds_out_about_the_given_share(tmp_path: Path) -> None:
    utterances = [Utterance(f"LJ{n:05}", tmp_path, "text") for n in range(5000)]
    held_out = {u.id for u in utterances if is_held_out(u, 5)}
    assert 180 < len(held_out) < 320
    assert held_out < {u.id for u in utterances if is_held_out(u, 20)}
    assert not any(is_held_out(u, 0) for u in utterances)
    assert {u.id for u in utterances if is_held_out(Utterance(u.id, Path("other"), "other"), 5)} == held_out


def test_the_split_does_not_change_between_versions(tmp_path: Path) -> None:
    held_out = [n for n in range(100) if is_held_out(Utterance(f"LJ001-{n:04}", tmp_path, "text"), 5)]
    assert held_out == [10, 11, 16, 50, 57, 59, 65, 82, 95]
