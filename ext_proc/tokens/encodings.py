"""The encodings that are here: loaded once, from the package, and which of them a model's texts are counted by.

Rules:
- A file of ranks whose hash is not the expected one is an error at the start, never a download.
- Loading takes about half a second and 90 MB for a moment: it is done when a bundle is loaded, not for an exchange.
- Special tokens are not read in texts: what a user writes is text, whatever it looks like.

Not here: counting (counting.py).
"""

from __future__ import annotations

import functools
import hashlib
import os
import threading
from pathlib import Path
from typing import Final, Literal

import tiktoken

from ext_proc.errors import GatehouseError

EncodingName = Literal["o200k_base", "cl100k_base"]
ENCODINGS: Final[tuple[EncodingName, ...]] = ("o200k_base", "cl100k_base")
FOLDER: Final = Path(__file__).parent / "ranks"

# What tiktoken calls the file in its cache, and its SHA-256 (tiktoken_ext.openai_public).
_FILES: Final = {
    "o200k_base": (
        "fb374d419588a4632f3f557e76b4b70aebbca790",
        "446a9538cb6c348e3516120d7c08b09f57c36495e2acfffe59a5bf8b0cfb1a2d",
    ),
    "cl100k_base": (
        "9b5ad71b2ce5302211f9c61530b329a4922fc6a4",
        "223921b76ee99bde995b7ff738513eef100fb51d18c93597a113bcffe865b2a7",
    ),
}
_CACHE = "TIKTOKEN_CACHE_DIR"
_LOADING = threading.Lock()


class RanksError(GatehouseError):
    """The ranks of an encoding are missing, or are not what they were."""


def load(name: EncodingName, folder: Path = FOLDER) -> tiktoken.Encoding:
    """The encoding of this name; the same object each time.

    Args:
        folder: where the ranks are.

    Raises:
        RanksError: they cannot be read, or their hash is another.
    """
    with _LOADING:  # tiktoken is told by the environment, which is the whole process's
        return _load(name, folder)


@functools.cache
def _load(name: EncodingName, folder: Path) -> tiktoken.Encoding:
    file, expected = _FILES[name]
    try:
        found = hashlib.sha256((folder / file).read_bytes()).hexdigest()
    except OSError as error:
        raise RanksError(f"cannot read the ranks of {name} ({error.strerror})") from None
    if found != expected:
        # tiktoken would delete the file and ask the internet for another.
        raise RanksError(f"the ranks of {name} are not what they were: expected the SHA-256 {expected}")
    before = os.environ.get(_CACHE)
    os.environ[_CACHE] = str(folder)
    try:
        return tiktoken.get_encoding(name)
    finally:
        if before is None:
            del os.environ[_CACHE]
        else:
            os.environ[_CACHE] = before


def encoding_of(model: str) -> EncodingName | None:
    """The encoding of a model by its name, as OpenAI names it; None for a model that nothing is known of.

    Source: tiktoken's own table. Models of other providers have tokenisers of their own, which are not published.
    """
    try:
        name = tiktoken.encoding_name_for_model(model)
    except KeyError:
        return None
    # The encoding of gpt-oss differs from o200k_base in special tokens only.
    name = "o200k_base" if name == "o200k_harmony" else name
    return next((known for known in ENCODINGS if known == name), None)
