"""Codecs: bytes to typed messages and back, one wire format each; codec.py says what a codec is.

Not here: how bytes are cut (framing/), what is decided about a message (engine/, policies).
"""
