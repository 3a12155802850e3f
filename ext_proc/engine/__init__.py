"""The engine: what happens to one exchange, without I/O and without a clock.

exchange.py is the state machine, plan.py chooses body modes, pipeline.py folds verdicts, route.py holds what a bundle
became.

Not here: protobuf (wire/), grpc and asyncio (server/), files (bundle/), any protocol's knowledge (codecs/).
"""
