"""Protobuf messages of ext_proc v3, generated from proto/ by `python proto/generate.py`.

Not here: anything written by hand.
"""
