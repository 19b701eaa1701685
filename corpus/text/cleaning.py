"""Unicode cleaning of transcripts in every language."""

from __future__ import annotations

import re
import unicodedata

_SPELLINGS = str.maketrans(
    {
        **dict.fromkeys("‘’‚‛ʼʹ′`´＇", "'"),
        **dict.fromkeys("“”„‟«»″〝〞〟「」『』＂", '"'),
        **dict.fromkeys("‐‑\u00ad", "-"),
        **dict.fromkeys("‒–—―", "—"),
        **{"‹": '"', "›": '"', "…": "...", "。": ". ", "．": ".", "，": ", ", "、": ", ", "！": "! ", "？": "? "},
        **{"：": ": ", "；": "; ", "（": " (", "）": ") ", "،": ",", "؛": ";", "؟": "?", "।": "."},
    }
)
_SOFT_HYPHEN = "\u00ad"
_UNREADABLE = "\N{REPLACEMENT CHARACTER}"
# The joiners shape Arabic and Indic words; in other scripts they have no effect.
_STRAY_JOINER = re.compile("(?<![\u0600-\u0dff])[\u200c\u200d]")
_VARIATION_SELECTOR = re.compile("[\ufe00-\ufe0f]")
_DASH_BETWEEN_DIGITS = re.compile(r"(?<=\d)\s*—\s*(?=\d)")
_DASH = re.compile(r"\s*—\s*")


def clean(text: str) -> str:
    """Return NFC text with plain quotes, hyphens, dashes (` - `) and single spaces, without invisible characters."""
    text = unicodedata.normalize("NFC", text.replace(_SOFT_HYPHEN, "")).translate(_SPELLINGS)
    text = _VARIATION_SELECTOR.sub("", _STRAY_JOINER.sub("", text))
    text = "".join(map(_visible, text))
    text = _DASH.sub(" - ", _DASH_BETWEEN_DIGITS.sub("-", text))
    return " ".join(text.split())


def _visible(character: str) -> str:
    """Return the character, a space for a control character, or nothing for an invisible one."""
    category = unicodedata.category(character)
    if category in ("Cc", "Zs", "Zl", "Zp"):
        return " "
    if category == "Cs":
        return _UNREADABLE
    return "" if category == "Cf" and character not in "\u200c\u200d" else character
