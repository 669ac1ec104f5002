"""A model as a FastAPI service, to put behind provider-gateway: docs/your-model.md. It needs fastapi and uvicorn.

uvicorn --app-dir examples fastapi_model:app --port 8000
"""

import asyncio
import hashlib

from fastapi import FastAPI, HTTPException, Request
from pydantic import BaseModel

app = FastAPI()
GOOD = {"good", "great", "fine"}


class Text(BaseModel):
    """A request: a text, and how many seconds the model takes for it."""

    text: str
    seconds: float = 0


@app.post("/sentiment")
async def sentiment(body: Text) -> dict[str, float]:
    """The share of good words in a text."""
    await asyncio.sleep(body.seconds)
    words = body.text.lower().split()
    if not words:
        raise HTTPException(500, "a text without words: division by zero")
    return {"score": sum(word in GOOD for word in words) / len(words)}


@app.post("/image")
async def image(request: Request) -> dict[str, object]:
    """What has arrived: the media type, the number of bytes, and their digest."""
    body = await request.body()
    digest = hashlib.sha256(body).hexdigest()
    return {"media_type": request.headers["content-type"], "bytes": len(body), "sha256": digest}


@app.get("/ready")
async def ready() -> dict[str, str]:
    """The model is ready: 2xx."""
    return {"status": "ready"}
