//! The answers of endpoints. JSON is written by serde in one pass; poem-openapi would build a tree first.

use poem::http::{StatusCode, header};
use poem::{IntoResponse, Response};
use poem_openapi::ApiResponse;
use poem_openapi::payload::Payload;
use poem_openapi::registry::{MetaMediaType, MetaResponse, MetaResponses, MetaSchemaRef, Registry};
use poem_openapi::types::Type;
use serde::Serialize;

use super::headers::JSON;

/// The initial capacity for the body, enough for most answers.
const BODY_BYTES: usize = 512;

/// A JSON answer.
pub struct Json<T>(pub T);

impl<T: Type> Payload for Json<T> {
    const CONTENT_TYPE: &'static str = "application/json";

    fn schema_ref() -> MetaSchemaRef {
        T::schema_ref()
    }

    fn register(registry: &mut Registry) {
        T::register(registry);
    }
}

impl<T: Serialize + Send> IntoResponse for Json<T> {
    fn into_response(self) -> Response {
        let mut body = Vec::with_capacity(BODY_BYTES);
        match serde_json::to_writer(&mut body, &self.0) {
            Ok(()) => {
                let mut response = Response::from(body);
                response.headers_mut().insert(header::CONTENT_TYPE, JSON);
                response
            }
            Err(_) => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
        }
    }
}

impl<T: Type + Serialize> ApiResponse for Json<T> {
    fn meta() -> MetaResponses {
        done(vec![MetaMediaType { content_type: Self::CONTENT_TYPE, schema: T::schema_ref() }])
    }

    fn register(registry: &mut Registry) {
        T::register(registry);
    }
}

/// The entry in the document of a 200 with this content.
pub fn done(content: Vec<MetaMediaType>) -> MetaResponses {
    let status = Some(200);
    let done = MetaResponse { description: "Done", status, status_range: None, content, headers: vec![] };
    MetaResponses { responses: vec![done] }
}

/// An answer without a body.
#[derive(ApiResponse)]
pub enum NoContent {
    /// Done
    #[oai(status = 204)]
    Done,
}

/// The answer to a creation.
#[derive(ApiResponse)]
pub enum Created<T: Type + Serialize> {
    /// It is created and durable. No later answer contains its secrets.
    #[oai(status = 201)]
    At(
        Json<T>,
        /// The path of what was created.
        #[oai(header = "Location")]
        String,
    ),
}
