"""The peer of the question "results": requests whose answers can wait, with FastAPI, SQLAlchemy and aio-pika.

A request is a committed row, then a confirmed publish, then 202. A reply is a committed row, then an acknowledgement.
It has no idempotency keys, no expiry, no limits. ``DATABASE_URL`` is ``sqlite+aiosqlite:///path`` or
``postgresql+asyncpg://…``. It declares the queue ``results.out``; its model is an AMQP worker that replies to
``reply_to``.
"""

import asyncio
import os
import ssl
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any

import aio_pika
from fastapi import FastAPI, HTTPException, Request, Response
from fastapi.responses import JSONResponse
from sqlalchemy import event, update
from sqlalchemy.ext.asyncio import AsyncEngine, async_sessionmaker, create_async_engine
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

URL = os.environ["RMQ_URL"]
CERTS = os.environ["CERTS"]
DATABASE = os.environ["DATABASE_URL"]
PREFETCH = int(os.environ.get("PREFETCH", "200"))
REPLIES = "results.out"


class Base(DeclarativeBase):
    """All tables."""


class Prediction(Base):
    """A request, and its result when there is one."""

    __tablename__ = "predictions"

    id: Mapped[str] = mapped_column(primary_key=True)
    routing_key: Mapped[str]
    status: Mapped[str] = mapped_column(default="pending")
    created: Mapped[datetime]
    finished: Mapped[datetime | None]
    model_status: Mapped[int | None]
    content_type: Mapped[str | None]
    body: Mapped[bytes | None]


def now() -> datetime:
    """UTC without a time zone, as both engines store it."""
    return datetime.now(UTC).replace(tzinfo=None)


def make_engine() -> AsyncEngine:
    """The engine. SQLite has one writer at a time: several connections would only wait for each other's locks."""
    if not DATABASE.startswith("sqlite"):
        context = ssl.create_default_context(cafile=CERTS + "/cacert.pem")
        return create_async_engine(DATABASE, pool_size=20, max_overflow=0, connect_args={"ssl": context})
    engine = create_async_engine(DATABASE, pool_size=1, max_overflow=0, pool_timeout=60)

    @event.listens_for(engine.sync_engine, "connect")
    def _connected(connection: Any, _record: object) -> None:
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = FULL")

    return engine


engine = make_engine()
Session = async_sessionmaker(engine, expire_on_commit=False)


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    """Make the table, connect, consume, and close in the end."""
    async with engine.begin() as connection:
        await connection.run_sync(Base.metadata.create_all)
    context = ssl.create_default_context(cafile=CERTS + "/cacert.pem")
    context.load_cert_chain(CERTS + "/client_cert.pem", CERTS + "/client_key.pem")
    broker = await aio_pika.connect_robust(URL, ssl_context=context)
    publishing = await broker.channel(publisher_confirms=True)
    consuming = await broker.channel()
    await consuming.set_qos(prefetch_count=PREFETCH)
    await consuming.declare_exchange("ML.MQ", "topic", durable=True)
    replies = await consuming.declare_queue(REPLIES, durable=True)
    app.state.exchange = await publishing.get_exchange("ML.MQ")

    async def on_reply(message: Any) -> None:
        async with Session() as session:
            await session.execute(
                update(Prediction)
                .where(Prediction.id == message.correlation_id, Prediction.status == "pending")
                .values(
                    status="succeeded",
                    finished=now(),
                    model_status=200,
                    content_type=message.content_type,
                    body=message.body,
                )
            )
            await session.commit()
        await message.ack()

    await replies.consume(on_reply)
    yield
    await broker.close()
    await engine.dispose()


app = FastAPI(lifespan=lifespan)


def document(row: Prediction) -> dict[str, Any]:
    """The status document."""
    return {
        "id": row.id,
        "status": row.status,
        "created": row.created.isoformat(),
        "finished": row.finished.isoformat() if row.finished else None,
        "routing_key": row.routing_key,
        "model_status": row.model_status,
        "links": {"self": f"/v1/requests/{row.id}", "result": f"/v1/requests/{row.id}/result"},
    }


@app.post("/v1/predict")
async def submit(request: Request) -> Response:
    """Commit the row, publish, answer 202."""
    body = await request.body()
    routing_key = request.headers.get("routing-key", "results.now")
    row = Prediction(id=uuid.uuid4().hex, routing_key=routing_key, status="pending", created=now())
    async with Session() as session:
        session.add(row)
        await session.commit()
    message = aio_pika.Message(
        body,
        headers=dict(request.headers.items()),
        correlation_id=row.id,
        reply_to=REPLIES,
        content_type="application/json",
        delivery_mode=2,
    )
    await app.state.exchange.publish(message, routing_key)
    headers = {"Location": f"/v1/requests/{row.id}", "Retry-After": "1", "Preference-Applied": "respond-async"}
    return JSONResponse(document(row), 202, headers)


async def find(id_: str) -> Prediction:
    """The row with an id."""
    async with Session() as session:
        row = await session.get(Prediction, id_)
    if row is None:
        raise HTTPException(404)
    return row


@app.get("/v1/requests/{id_}")
async def status(id_: str) -> dict[str, Any]:
    """The status document."""
    return document(await find(id_))


@app.get("/v1/requests/{id_}/result")
async def result(id_: str) -> Response:
    """What the model answered."""
    row = await find(id_)
    if row.status == "pending":
        return JSONResponse(document(row), 202, {"Retry-After": "1"})
    return Response(row.body, row.model_status or 200, media_type=row.content_type)


@app.get("/health")
async def health() -> dict[str, str]:
    """Say that it runs."""
    await asyncio.sleep(0)
    return {"status": "ok"}
