"""Subtitles (SRT): the text of each unit with its times in the sound."""

from __future__ import annotations

from collections.abc import Sequence


def subtitles(cues: Sequence[tuple[float, float, str]]) -> str:
    """SRT text for cues (start and end in seconds, text)."""
    blocks = [
        f"{number}\n{_timestamp(start)} --> {_timestamp(end)}\n{text}\n"
        for number, (start, end, text) in enumerate(cues, start=1)
    ]
    return "\n".join(blocks)


def _timestamp(seconds: float) -> str:
    milliseconds = round(1000 * seconds)
    minutes, milliseconds = divmod(milliseconds, 60_000)
    hours, minutes = divmod(minutes, 60)
    return f"{hours:02d}:{minutes:02d}:{milliseconds // 1000:02d},{milliseconds % 1000:03d}"
