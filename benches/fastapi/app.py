"""One protected route, in each of the variants that run.py compares. The environment names the variant."""

import os
from typing import Annotated

from fastapi import Depends, FastAPI, HTTPException, Request
from keyfob.fastapi import AccessToken, Keyfob, Session

VARIANT = os.environ["VARIANT"]
app = FastAPI()


def answer(user: str) -> dict[str, str]:
    return {"user": user}


if VARIANT == "nothing":

    @app.get("/page")
    async def page() -> dict[str, str]:
        return answer("alice")

elif VARIANT.startswith("keyfob"):
    auth = Keyfob(cache=3 if "kept" in VARIANT else None)
    auth.install(app)
    if "bearer" in VARIANT:

        @app.get("/page")
        async def page(token: Annotated[AccessToken, Depends(auth.token())]) -> dict[str, str]:
            return answer(token.subject)

    else:

        @app.get("/page")
        async def page(session: Annotated[Session, Depends(auth.session())]) -> dict[str, str]:
            return answer(session.subject)

elif VARIANT == "redis-py":
    import redis.asyncio

    store = redis.asyncio.Redis.from_url(os.environ["REDIS_URL"], decode_responses=True)

    async def session(request: Request) -> str:
        user = await store.getex(f"session:{request.cookies.get('session')}", ex=1800)
        if user is None:
            raise HTTPException(401)
        return user

    @app.get("/page")
    async def page(user: Annotated[str, Depends(session)]) -> dict[str, str]:
        return answer(user)

elif VARIANT == "fastapi-redis-sdk":
    from redis_fastapi import FastAPIRedis, SessionDep, valid_session

    FastAPIRedis(app).lifespan().sessions()

    @app.post("/login")
    async def login(session: SessionDep) -> None:
        session["user_id"] = "alice"

    @app.get("/page", dependencies=[Depends(valid_session())])
    async def page(session: SessionDep) -> dict[str, str]:
        return answer(session["user_id"])

elif VARIANT == "signed-cookie":
    from starlette.middleware.sessions import SessionMiddleware

    app.add_middleware(SessionMiddleware, secret_key="0" * 64, https_only=False)

    @app.post("/login")
    async def login(request: Request) -> None:
        request.session["user"] = "alice"

    @app.get("/page")
    async def page(request: Request) -> dict[str, str]:
        if "user" not in request.session:
            raise HTTPException(401)
        return answer(request.session["user"])
