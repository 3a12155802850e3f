"""Framing: how bytes are cut into units, before any protocol gives them a meaning.

sse.py splits and writes server-sent events, json_view.py reads JSON strictly, body.py holds a body up to a limit,
header_value.py makes a text safe for a header.

Not here: what an event or a document says (codecs/).
"""
