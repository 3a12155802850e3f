"""What a request to a model puts before it, piece by piece, for whoever counts it.

Rules:
- It is for counting alone: it is neither whole to the byte, nor in the order in which the provider puts it together.

Not here: which field of which format is what (codecs/llm_prompts.py), texts as policies may edit them (channel.py).
"""

from __future__ import annotations

from dataclasses import dataclass, field

from ext_proc.messages.channel import Role


@dataclass(frozen=True, slots=True)
class PromptPart:
    """A piece of a prompt: a text, or what only a rule says the tokens of.

    Attributes:
        role: whose it is.
        text: to be counted; "" where there is none.
        tokens: on top of the text's: of a picture, a sound, a file, or of what the format puts around a message.
        definition: whether it says what a tool is, or what shape an answer has; then its role means nothing.
    """

    role: Role
    text: str = field(default="", repr=False)
    tokens: int = 0
    definition: bool = False
