"""Letters that are drawn like Latin ones.

Rules:
- Chosen by hand: letters of Cyrillic, Greek, Armenian and of phonetic alphabets that make English words.
- After case folding: where only the capitals are alike (the Greek nu) the small letter stands for what its capital
  looks like.

Not here: compatibility forms (fullwidth, mathematical), which Unicode's own normalisation folds; digits that look like
letters (names.py); the rest of Unicode's confusables (UTS 39 has thousands).
"""

from __future__ import annotations

LOOKALIKES = str.maketrans(
    {
        stranger: latin
        for latin, strangers in {
            "a": "\u0430\u03b1\u0251",
            "b": "\u0432\u044c\u03b2\u0299",
            "c": "\u0441\u03f2\u1d04",
            "d": "\u0501\u1d05",
            "e": "\u0435\u03b5\u1d07",
            "g": "\u0581\u0261\u0262",
            "h": "\u04bb\u043d\u03b7\u0570\u029c",
            "i": "\u0456\u03b9\u0131\u0269\u026a",
            "j": "\u0458\u03f3\u1d0a",
            "k": "\u043a\u03ba\u1d0b",
            "l": "\u04cf\u029f",
            "m": "\u043c\u1d0d",
            "n": "\u043f\u03bd\u0578\u0274",
            "o": "\u043e\u03bf\u0585\u1d0f",
            "p": "\u0440\u03c1\u1d18",
            "q": "\u051b\u0566",
            "r": "\u0433\u0280",
            "s": "\u0455\ua731",
            "t": "\u0442\u03c4\u1d1b",
            "u": "\u057d\u1d1c",
            "v": "\u0475\u1d20",
            "w": "\u051d\u03c9\u1d21",
            "x": "\u0445\u03c7",
            "y": "\u0443\u04af\u03b3\u03c5\u028f",
            "z": "\u03b6\u1d22",
        }.items()
        for stranger in strangers
    }
)
"""For `str.translate`: each letter to the Latin one."""
