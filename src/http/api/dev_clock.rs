//! `POST /dev/clock`, which only `keyfob dev --clock` serves: moves the time of the server forward.

use std::sync::Arc;
use std::time::Duration;

use poem::http::{StatusCode, header};
use poem::{Endpoint, IntoResponse, Request, Response};
use serde::Deserialize;
use serde_json::json;

use crate::domain::caller::Caller;
use crate::domain::id::ClientId;
use crate::domain::time::Timestamp;
use crate::engine::Engine;
use crate::engine::clock::ClockAdvance;
use crate::http::request::{AuthorizationHeader, ClientFormFields, Parsed, merge, read_body, source_of};
use crate::http::response::{Json, Problem};
use crate::store::Store;

/// The clock of a development server.
pub struct DevClock<S> {
    pub engine: Arc<Engine<S>>,
    pub ahead: ClockAdvance,
    /// The client that may move it.
    pub client: ClientId,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Advance {
    /// How far, such as `31m`.
    advance: Parsed<Duration>,
}

impl<S: Store> Endpoint for DevClock<S> {
    type Output = Response;

    async fn call(&self, request: Request) -> poem::Result<Response> {
        Ok(match self.advance(request).await {
            Ok(now) => Json(json!({ "now": now.to_string() })).into_response(),
            Err(problem) => problem.into_response(),
        })
    }
}

impl<S: Store> DevClock<S> {
    /// The new time, when everything that is due by then has been done: the events of expired sessions are in the
    /// log.
    async fn advance(&self, mut request: Request) -> Result<Timestamp, Problem> {
        let forbidden = |why| Problem::new(StatusCode::FORBIDDEN, why);
        if request.headers().contains_key(header::ORIGIN) {
            return Err(forbidden("a page may not move the clock: send no Origin"));
        }
        let (header, form) = (AuthorizationHeader::read(request.headers()), ClientFormFields::default());
        match self.engine.authenticate(merge(&header, &form)?, source_of(&request)).await?.caller {
            Caller::Client(client) if client.id == self.client => {}
            _ => return Err(forbidden("only the client in KEYFOB_CLIENT_ID may move the clock")),
        }
        let media_type = request.content_type().map(str::to_owned);
        let body = request.take_body().into_bytes().await.unwrap_or_default();
        let by = read_body::<Advance>(media_type.as_deref(), &body)?.advance.0;
        if by.is_zero() {
            return Err(Problem::invalid("advance", "advance must be more than 0s: time only goes forward"));
        }
        self.ahead.advance(by);
        self.engine.tend_keys().await?;
        self.engine.write_uses(false).await;
        while self.engine.sweep().await?.more {}
        Ok(self.engine.clock.now().wall)
    }
}
