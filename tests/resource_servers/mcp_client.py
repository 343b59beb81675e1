"""A client session of the MCP SDK: calls the tool that a line of its input names, and prints the answer or the error."""

import asyncio
import json
import sys

import httpx2
from mcp import Client
from mcp.client.auth.extensions.client_credentials import ClientCredentialsOAuthProvider
from mcp.client.streamable_http import streamable_http_client


class Storage:
    """Stores tokens in memory."""

    tokens = client = None

    async def get_tokens(self):
        return self.tokens

    async def set_tokens(self, tokens):
        self.tokens = tokens

    async def get_client_info(self):
        return self.client

    async def set_client_info(self, client):
        self.client = client


async def main(url, token=None, **credentials):
    if token is None:
        options = {"auth": ClientCredentialsOAuthProvider(url, Storage(), scope="read", **credentials)}
    else:
        options = {"headers": {"Authorization": f"Bearer {token}"}}
    async with httpx2.AsyncClient(**options) as sender, Client(streamable_http_client(url, http_client=sender)) as client:
        while tool := (await asyncio.to_thread(sys.stdin.readline)).strip():
            try:
                print((await client.call_tool(tool, {})).content[0].text, flush=True)
            except Exception as error:  # noqa: BLE001: the caller judges it
                print(f"{type(error).__name__}: {error}".replace("\n", " "), flush=True)


asyncio.run(main(sys.argv[1], **json.loads(sys.argv[2])))
