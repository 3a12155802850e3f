"""Typed views of protocol units over their raw bytes: the second word of the ladder.

Rules:
- A message is immutable. A changed one is a new message; one that nobody changed leaves as the bytes that came (`raw`).
- The class is what a policy subscribes to by annotating its hook, and a subclass is also its parents.
- What cannot be read is a message too: `Opaque`. Nothing on a governed route is without a type.

Not here: how bytes become messages, or which answer may hold what (codecs/).
"""

from ext_proc.messages.base import Message, Opaque, RequestHead, ResponseHead, encode_json
from ext_proc.messages.channel import Channel, ChannelKind, Form, Piece, RequestText, ResponseText, Role, TextWindow
from ext_proc.messages.llm import (
    Completion,
    CompletionChunk,
    Generation,
    LlmError,
    LlmMessage,
    ModelListing,
    Setting,
    Usage,
)
from ext_proc.messages.mcp import (
    CacheableResult,
    ClientError,
    ClientResult,
    CompleteRequest,
    JsonRpcMessage,
    McpAnswer,
    McpCall,
    McpError,
    McpList,
    McpMessage,
    McpNotification,
    McpRequest,
    McpResult,
    McpTransport,
    PromptGet,
    PromptList,
    ResourceList,
    ResourceRead,
    ResourceTemplateList,
    ServerRequest,
    SessionEnd,
    StreamOpen,
    SubscriptionsListen,
    ToolCall,
    ToolList,
    ToolResult,
)
from ext_proc.messages.mcp_headers import HeadersOnly, ToolHeaders

__all__ = [
    "CacheableResult",
    "Channel",
    "ChannelKind",
    "ClientError",
    "ClientResult",
    "CompleteRequest",
    "Completion",
    "CompletionChunk",
    "Form",
    "Generation",
    "HeadersOnly",
    "JsonRpcMessage",
    "LlmError",
    "LlmMessage",
    "McpAnswer",
    "McpCall",
    "McpError",
    "McpList",
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
    "PromptList",
    "RequestHead",
    "RequestText",
    "ResourceList",
    "ResourceRead",
    "ResourceTemplateList",
    "ResponseHead",
    "ResponseText",
    "Role",
    "ServerRequest",
    "SessionEnd",
    "Setting",
    "StreamOpen",
    "SubscriptionsListen",
    "TextWindow",
    "ToolCall",
    "ToolHeaders",
    "ToolList",
    "ToolResult",
    "Usage",
    "encode_json",
]
