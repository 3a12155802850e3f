"""The process: it listens, owns time, signals and shutdown, and carries events and replies between Envoy and the
engine.

run.py wires it, aio.py is the gRPC transport and driver.py its loop, completion.py ends exchanges, reload.py swaps
bundles, admin.py shows what goes on.

Not here: any decision (engine/), any view of decisions (telemetry/).
"""
