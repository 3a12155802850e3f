"""The model stub answers as OpenAI's API reference says, read by the official client."""

from __future__ import annotations

from collections.abc import AsyncIterator

import httpx2
import openai
import pytest
from openai.types.chat import ChatCompletionFunctionToolParam as ChatCompletionToolParam
from openai.types.chat import ChatCompletionMessageParam

from ext_proc.demo.model_stub import application

HELLO: list[ChatCompletionMessageParam] = [{"role": "user", "content": "hello there"}]


@pytest.fixture
async def client() -> AsyncIterator[openai.AsyncOpenAI]:
    http_client = httpx2.AsyncClient(transport=httpx2.ASGITransport(application("model-a")))
    async with openai.AsyncOpenAI(base_url="http://model/v1", api_key="any", http_client=http_client) as client:
        yield client


async def test_the_answer_names_the_model_and_repeats_the_last_message(client: openai.AsyncOpenAI) -> None:
    completion = await client.chat.completions.create(model="any", messages=HELLO)
    assert completion.model == "model-a"
    assert completion.choices[0].message.content == "This is model-a. You said: hello there"
    assert completion.choices[0].finish_reason == "stop"
    assert completion.usage is not None
    assert (completion.usage.prompt_tokens, completion.usage.completion_tokens) == (2, 7)


async def test_a_stream_says_the_same_in_pieces_and_ends_with_usage_if_asked(client: openai.AsyncOpenAI) -> None:
    stream = await client.chat.completions.create(
        model="any", messages=HELLO, stream=True, stream_options={"include_usage": True}
    )
    chunks = [chunk async for chunk in stream]
    text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)
    assert text == "This is model-a. You said: hello there"
    assert chunks[-2].choices[0].finish_reason == "stop"
    assert chunks[-1].choices == []
    assert chunks[-1].usage is not None
    assert chunks[-1].usage.total_tokens == 9


async def test_a_stream_carries_no_usage_unless_asked(client: openai.AsyncOpenAI) -> None:
    stream = await client.chat.completions.create(model="any", messages=HELLO, stream=True)
    assert [chunk.usage async for chunk in stream if chunk.usage is not None] == []


async def test_text_parts_are_read_as_text(client: openai.AsyncOpenAI) -> None:
    parts: list[ChatCompletionMessageParam] = [{"role": "user", "content": [{"type": "text", "text": "in parts"}]}]
    completion = await client.chat.completions.create(model="any", messages=parts)
    assert completion.choices[0].message.content == "This is model-a. You said: in parts"


async def test_whoever_offers_functions_has_a_call_of_each_proposed(client: openai.AsyncOpenAI) -> None:
    tools: list[ChatCompletionToolParam] = [
        {"type": "function", "function": {"name": name}} for name in ("search", "read")
    ]
    completion = await client.chat.completions.create(model="any", messages=HELLO, tools=tools)
    (choice,) = completion.choices
    assert choice.finish_reason == "tool_calls"
    async with client.chat.completions.stream(model="any", messages=HELLO, extra_body={"tools": tools}) as stream:
        streamed = await stream.get_final_completion()
    for calls in (choice.message.tool_calls, streamed.choices[0].message.tool_calls):
        made = [call.function for call in calls or () if call.type == "function"]
        assert [(call.name, call.arguments) for call in made] == [
            ("search", '{"path": "/srv/a"}'),
            ("read", '{"path": "/srv/a"}'),
        ]


async def test_it_lists_itself_as_the_only_model(client: openai.AsyncOpenAI) -> None:
    assert [model.id async for model in await client.models.list()] == ["model-a"]


@pytest.mark.parametrize("body", [b"", b"[]", b"{}", b'{"messages":[]}', b'{"messages":["x"]}', b'{"messages":7}'])
async def test_what_is_no_request_gets_openais_error(body: bytes) -> None:
    async with httpx2.AsyncClient(
        transport=httpx2.ASGITransport(application("model-a")), base_url="http://model"
    ) as http:
        answer = await http.post("/v1/chat/completions", content=body)
    assert answer.status_code == 400
    assert answer.json()["error"]["type"] == "invalid_request_error"
