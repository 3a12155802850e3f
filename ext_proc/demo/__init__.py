"""What `gatehouse demo` starts: a real Envoy, a real MCP server and two models, as processes of this machine.

The tests through a real Envoy and docker-compose.yaml use the same parts. It needs the extra `gatehouse[demo]`.
"""
