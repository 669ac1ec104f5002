"""The peer: the same job as a Python team would build it today, with FastAPI, aio-pika and aiohttp in one process.

It has mTLS, durable queues, persistent messages and publisher confirms. ``PREFETCH`` is the number of messages and
model calls in work at a time. It declares the queues ``peer.in`` and ``peer.out``.
"""

import asyncio
import os
import ssl
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import aio_pika
import aiohttp
from fastapi import FastAPI, Request, Response

URL = os.environ["RMQ_URL"]
CERTS = os.environ["CERTS"]
MODEL = os.environ["MODEL_URL"]
PREFETCH = int(os.environ.get("PREFETCH", "200"))
REPLY_TIMEOUT = 90
pending: dict[str, asyncio.Future[Any]] = {}


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    """Connect, consume, and close in the end."""
    context = ssl.create_default_context(cafile=CERTS + "/cacert.pem")
    context.load_cert_chain(CERTS + "/client_cert.pem", CERTS + "/client_key.pem")
    connection = await aio_pika.connect_robust(URL, ssl_context=context)
    publishing = await connection.channel(publisher_confirms=True)
    consuming = await connection.channel()
    await consuming.set_qos(prefetch_count=PREFETCH)
    exchange = await consuming.declare_exchange("ML.MQ", "topic", durable=True)
    requests = await consuming.declare_queue("peer.in", durable=True)
    await requests.bind(exchange, "predict.*")
    replies = await consuming.declare_queue("peer.out", durable=True)
    app.state.exchange = await publishing.get_exchange("ML.MQ")
    session = aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=PREFETCH))

    async def on_request(message: Any) -> None:
        headers = {"Content-Type": message.content_type, "RqUID": str(message.headers.get("rquid", ""))}
        timeout = aiohttp.ClientTimeout(300)
        async with session.post(MODEL, data=message.body, headers=headers, timeout=timeout) as response:
            body = await response.read()
        reply = aio_pika.Message(
            body, correlation_id=message.correlation_id, content_type=response.content_type, delivery_mode=2
        )
        await publishing.default_exchange.publish(reply, message.reply_to)
        await message.ack()

    async def on_reply(message: Any) -> None:
        future = pending.pop(message.correlation_id, None)
        if future and not future.done():
            future.set_result(message)
        await message.ack()

    await requests.consume(on_request)
    await replies.consume(on_reply)
    yield
    await session.close()
    await connection.close()


app = FastAPI(lifespan=lifespan)


@app.post("/v1/predict")
async def predict(request: Request) -> Response:
    """Publish, wait for the reply, answer with it."""
    body = await request.body()
    correlation_id = uuid.uuid4().hex
    future = asyncio.get_running_loop().create_future()
    pending[correlation_id] = future
    message = aio_pika.Message(
        body,
        headers=dict(request.headers.items()),
        correlation_id=correlation_id,
        reply_to="peer.out",
        content_type=request.headers.get("content-type", "application/json"),
        delivery_mode=2,
    )
    await app.state.exchange.publish(message, request.headers.get("routing-key", "predict.now"))
    reply = await asyncio.wait_for(future, REPLY_TIMEOUT)
    return Response(reply.body, media_type=reply.content_type)


@app.get("/health")
async def health() -> dict[str, str]:
    """Say that it runs."""
    return {"status": "ok"}
