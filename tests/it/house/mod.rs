//! The sources and documents themselves: layers, standards, links, the OpenAPI document.

mod circles;
mod docs;
mod ids;
mod layers;
mod openapi;
mod unsafe_code;
mod widths;
mod words;
