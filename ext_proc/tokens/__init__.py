"""How many tokens a text is: exactly, in pieces as it streams, or by its characters.

Rules:
- Nothing is fetched: the ranks of the encodings come with the package, and their hashes are checked before their use.
- What is counted comes from outside: no text makes counting fail, or take more than a time in proportion to its length.

Not here: what a provider reported (codecs/), what a token costs.
"""
