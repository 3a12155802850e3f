"""Typed views of protocol units over their raw bytes: the second word of the ladder.

Rules:
- A message is immutable. A changed one is a new message; one that nobody changed leaves as the bytes that came (`raw`).
- The class is what a policy subscribes to by annotating its hook, and a subclass is also its parents.
- What cannot be read is a message too: `Opaque`. Nothing on a governed route is without a type.

Not here: how bytes become messages, or which answer may hold what (codecs/).
"""

from ext_proc.messages.base import Message, Opaque, RequestHead, ResponseHead, encode_json
from ext_proc.messages.llm import (
    Channel,
    ChannelKind,
    Completion,
    CompletionChunk,
    Generation,
    LlmError,
    LlmMessage,
    ModelListing,
    Piece,
    Setting,
    Usage,
)
from ext_proc.messages.mcp import (
    ClientError,
    ClientResult,
    JsonRpcMessage,
    McpAnswer,
    McpCall,
    McpError,
    McpMessage,
    McpNotification,
    McpRequest,
    McpResult,
    McpTransport,
    PromptGet,
    ResourceRead,
    ServerRequest,
    SessionEnd,
    StreamOpen,
    ToolCall,
    ToolList,
    ToolResult,
)

__all__ = [
    "Channel",
    "ChannelKind",
    "ClientError",
    "ClientResult",
    "Completion",
    "CompletionChunk",
    "Generation",
    "JsonRpcMessage",
    "LlmError",
    "LlmMessage",
    "McpAnswer",
    "McpCall",
    "McpError",
    "McpMessage",
    "McpNotification",
    "McpRequest",
    "McpResult",
    "McpTransport",
    "Message",
    "ModelListing",
    "Opaque",
    "Piece",
    "PromptGet",
    "RequestHead",
    "ResourceRead",
    "ResponseHead",
    "ServerRequest",
    "SessionEnd",
    "Setting",
    "StreamOpen",
    "ToolCall",
    "ToolList",
    "ToolResult",
    "Usage",
    "encode_json",
]
