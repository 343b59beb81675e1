//! Parameters of paths, queries and headers, read as types. What is wrong with one is reported when it is
//! read: after the caller was authenticated.

use std::borrow::Cow;
use std::marker::PhantomData;

use percent_encoding::percent_decode_str;
use poem::{Request, RequestBody};
use poem_openapi::registry::{MetaParamIn, MetaSchemaRef, Registry};
use poem_openapi::types::Type;
use poem_openapi::{ApiExtractor, ApiExtractorType, ExtractParamOptions};

use super::types::{Described, Parsed, Text, TextFormat, True, Whole};
use super::urlencoded::decode;
use crate::domain::refusal::Refusal;
use crate::http::response::error::Problem;

/// What a valid text is, for one that is not; continues a sentence that begins with the name of the
/// parameter.
type Rule = Cow<'static, str>;

/// The number of items of a page.
pub type PageSize = Whole<1, 200>;

/// The number of items of a page if the request does not say one.
pub fn page_default() -> PageSize {
    Whole(50)
}

/// An extractor for a parameter that is found in `In`.
pub struct RequestParameter<T, In> {
    name: &'static str,
    value: Result<T, Rule>,
    place: PhantomData<In>,
}

/// A segment of the path. One that is not valid names nothing: 404.
pub type Path<T> = RequestParameter<T, InPath>;
/// A parameter of the query.
pub type Query<T> = RequestParameter<T, InQuery>;
pub type Header<T> = RequestParameter<T, InHeader>;

/// The segments of a path that are parameters, percent-encoded.
#[derive(Clone)]
pub struct PathParameters(pub Vec<Box<str>>);

pub enum InPath {}
pub enum InQuery {}
pub enum InHeader {}

/// Where a parameter can be.
pub trait Location: Send {
    /// The place in the document.
    const IN: MetaParamIn;

    /// The texts of the parameter.
    fn texts<'r>(request: &'r Request, name: &str) -> Vec<Cow<'r, str>>;
}

/// A type that a text of a parameter can be read as.
pub trait FromText: Type + Sized {
    fn from_text(text: &str) -> Result<Self, Rule>;
}

/// A type that all the texts of a parameter can be read as.
pub trait FromTexts: Type + Sized {
    /// Whether there must be one.
    const REQUIRED: bool;

    fn from_texts(texts: &[Cow<'_, str>]) -> Result<Self, Rule>;
}

impl<T, In> RequestParameter<T, In> {
    /// The value; 400 names the parameter that is not valid.
    pub fn read(self) -> Result<T, Problem> {
        let name = self.name;
        self.read_as(name)
    }

    /// The same, under the name that the document has: the framework knows parameters of paths by their
    /// number.
    pub fn read_as(self, name: &'static str) -> Result<T, Problem> {
        self.value.map_err(|rule| Problem::invalid(name, format!("{name} {rule}")))
    }
}

impl<T> Path<T> {
    /// The name that the path has for a `what`; 404 if it can name none.
    pub fn named(self, what: &str) -> Result<T, Problem> {
        self.value.map_err(|_| Refusal::NotFound.because(format!("there is no such {what}")).into())
    }
}

impl<'a, T: FromTexts, In: Location> ApiExtractor<'a> for RequestParameter<T, In> {
    const TYPES: &'static [ApiExtractorType] = &[ApiExtractorType::Parameter];
    const PARAM_IS_REQUIRED: bool = T::REQUIRED;
    type ParamType = T;
    type ParamRawType = T::RawValueType;

    fn register(registry: &mut Registry) {
        T::register(registry);
    }

    fn param_in() -> Option<MetaParamIn> {
        Some(In::IN)
    }

    fn param_schema_ref() -> Option<MetaSchemaRef> {
        Some(T::schema_ref())
    }

    async fn from_request(
        request: &'a Request,
        _: &mut RequestBody,
        options: ExtractParamOptions<T>,
    ) -> poem::Result<Self> {
        let texts = In::texts(request, options.name);
        let value = match options.default_value {
            Some(default) if texts.is_empty() => Ok(default()),
            _ => T::from_texts(&texts),
        };
        Ok(Self { name: options.name, value, place: PhantomData })
    }
}

impl Location for InPath {
    const IN: MetaParamIn = MetaParamIn::Path;

    /// The name is `param` and a number.
    fn texts<'r>(request: &'r Request, name: &str) -> Vec<Cow<'r, str>> {
        let index: Option<usize> = name.strip_prefix("param").and_then(|index| index.parse().ok());
        let segment = |parameters: &'r PathParameters| parameters.0.get(index?);
        let segment = request.extensions().get().and_then(segment);
        segment.and_then(|segment| percent_decode_str(segment).decode_utf8().ok()).into_iter().collect()
    }
}

impl Location for InQuery {
    const IN: MetaParamIn = MetaParamIn::Query;

    fn texts<'r>(request: &'r Request, name: &str) -> Vec<Cow<'r, str>> {
        let pairs = request.uri().query().unwrap_or_default().split('&');
        let named = pairs.filter_map(|pair| {
            let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
            if decode(key.as_bytes())? == name { decode(value.as_bytes()) } else { None }
        });
        named.collect()
    }
}

impl Location for InHeader {
    const IN: MetaParamIn = MetaParamIn::Header;

    fn texts<'r>(request: &'r Request, name: &str) -> Vec<Cow<'r, str>> {
        let values = request.headers().get_all(name).iter();
        values.map(|value| String::from_utf8_lossy(value.as_bytes())).collect()
    }
}

impl<T: FromText> FromTexts for T {
    const REQUIRED: bool = true;

    fn from_texts(texts: &[Cow<'_, str>]) -> Result<Self, Rule> {
        T::from_text(texts.first().ok_or("is missing")?)
    }
}

impl<T: FromText> FromTexts for Option<T> {
    const REQUIRED: bool = false;

    fn from_texts(texts: &[Cow<'_, str>]) -> Result<Self, Rule> {
        match texts {
            [_, _, ..] => Err("must not be repeated".into()),
            texts => texts.first().map(|text| T::from_text(text)).transpose(),
        }
    }
}

impl<T: FromText> FromTexts for Vec<T> {
    const REQUIRED: bool = false;

    fn from_texts(texts: &[Cow<'_, str>]) -> Result<Self, Rule> {
        texts.iter().map(|text| T::from_text(text)).collect()
    }
}

impl FromText for True {
    fn from_text(text: &str) -> Result<Self, Rule> {
        if text == "true" { Ok(Self(true)) } else { Err("must be true".into()) }
    }
}

impl FromText for bool {
    fn from_text(text: &str) -> Result<Self, Rule> {
        text.parse().map_err(|_| "must be true or false".into())
    }
}

impl<T: TextFormat> FromText for Parsed<T> {
    fn from_text(text: &str) -> Result<Self, Rule> {
        T::read(text).map(Self).ok_or_else(T::rule)
    }
}

impl<T: Described> FromText for Text<T> {
    fn from_text(text: &str) -> Result<Self, Rule> {
        Ok(text.to_owned().into())
    }
}

impl<const MIN: u64, const MAX: u64> FromText for Whole<MIN, MAX> {
    fn from_text(text: &str) -> Result<Self, Rule> {
        // A number has one form: no sign, no leading zeros.
        let valid = |number: &u64| (MIN..=MAX).contains(number) && number.to_string() == text;
        let number = text.parse().ok().filter(valid);
        number.map(Self).ok_or_else(|| Self::rule().into())
    }
}
