"""LangChain's ``ChatOpenAI``, pointed at the proxy by nothing but its base address and a key."""

from collections.abc import AsyncIterator, Callable
from functools import partial
from typing import Any

import openai
import pytest
from langchain_core.messages import AIMessage, AIMessageChunk, HumanMessage, SystemMessage
from langchain_core.tools import tool
from langchain_openai import ChatOpenAI
from pydantic import SecretStr

from tests.clients.test_openai_python import Routed
from tests.inference.double import SECRET, Running

pytestmark = pytest.mark.slow

Make = Callable[..., ChatOpenAI]
MESSAGES = [SystemMessage("ICD-10-CM chapter desk."), HumanMessage("wheezing after exercise")]


@tool
def route(desk: str) -> str:
    """Send the case to a desk."""
    return f"{desk} has it"


@pytest.fixture
async def chat(proxy: Running) -> AsyncIterator[Make]:
    """Makes one. Its connections are the test's: its own ones outlive the loop."""
    async with openai.DefaultAsyncHttpxClient() as connections:
        yield partial(
            ChatOpenAI,
            base_url=f"{proxy.url}/v1",
            api_key=SecretStr(SECRET),
            model="desk",
            temperature=0,
            seed=1,
            max_retries=0,
            http_async_client=connections,
        )


async def test_whole_and_streamed_say_the_same(chat: Make) -> None:
    whole = await chat(max_tokens=8).ainvoke(MESSAGES)
    assert isinstance(whole, AIMessage)
    assert whole.usage_metadata is not None
    assert whole.usage_metadata["output_tokens"] == 8
    assert whole.response_metadata["model_name"] == "desk"
    streamed: AIMessageChunk | None = None
    async for part in chat(max_tokens=8).astream(MESSAGES):
        assert isinstance(part, AIMessageChunk)
        streamed = part if streamed is None else streamed + part
    assert streamed is not None
    assert streamed.content == whole.content != ""


async def test_a_structured_answer(chat: Make) -> None:
    for method in ("json_schema", "function_calling"):
        asked = chat(max_tokens=80).with_structured_output(Routed, method=method, strict=True)
        assert isinstance(await asked.ainvoke(MESSAGES), Routed)


async def test_a_tool_is_called_streamed_and_not(chat: Make) -> None:
    asked = chat(max_tokens=80).bind_tools([route], tool_choice="route", strict=True)
    whole = await asked.ainvoke(MESSAGES)
    assert isinstance(whole, AIMessage)
    (call,) = whole.tool_calls
    assert (call["name"], list(call["args"])) == ("route", ["desk"])
    streamed: Any = None
    async for part in asked.astream(MESSAGES):
        streamed = part if streamed is None else streamed + part
    assert streamed.tool_calls[0]["args"] == call["args"]


async def test_a_batch_comes_in_order(chat: Make) -> None:
    texts = [message.content for message in await chat(max_tokens=8).abatch([MESSAGES, "The lungs are"])]
    assert len(texts) == 2
    assert texts[0] != texts[1]


async def test_its_exceptions_are_the_clients(chat: Make) -> None:
    with pytest.raises(openai.BadRequestError, match="temperature"):
        await chat(max_tokens=8).bind(temperature=-1).ainvoke(MESSAGES)
