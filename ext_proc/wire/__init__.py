"""Protobuf to Event, Reply to protobuf: the only place that knows protobuf.

Not here: when an RPC begins or ends (server/), what is answered (engine/).
"""
