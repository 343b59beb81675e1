//! Looks up the routes of `http/mod.rs`: method and path give the endpoint, the query rules and the counters.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use poem::endpoint::BoxEndpoint;
use poem::http::Method;
use poem::{Endpoint, EndpointExt, IntoResponse, Request};
use poem_openapi::OpenApi;

use crate::http::access::Access;
use crate::http::direct::Direct;
use crate::http::metrics::requests::{OTHER, RequestCounters};
use crate::http::request::parameters::PathParameters;
use crate::http::request::query::QueryRules;

type Endpoints = HashMap<String, HashMap<Method, BoxEndpoint<'static>>>;

/// Every route of the server.
pub struct Routes {
    /// The paths without parameters.
    exact: BTreeMap<Box<str>, Route>,
    /// The paths with parameters, if no exact path matches: `/v1/keys/rotate` is not a `{kid}`.
    templates: Vec<Route>,
    /// Counts the requests whose path is not a route.
    unknown: Arc<RequestCounters>,
}

/// A path and its methods.
pub struct Route {
    template: Box<str>,
    operations: Vec<Operation>,
    /// Counts the requests whose method the route does not have.
    other: Arc<RequestCounters>,
}

/// One method of a route.
pub struct Operation {
    /// The method; GET answers HEAD too.
    pub method: Method,
    pub access: Access,
    /// What the query may contain.
    pub query: QueryRules,
    pub endpoint: Handler,
    counters: Arc<RequestCounters>,
}

/// What answers the requests to an operation.
pub enum Handler {
    /// An endpoint as poem-openapi makes it.
    Described(BoxEndpoint<'static>),
    /// The same endpoint, called without poem.
    Direct(Box<dyn Direct>),
}

/// The route of one request.
#[derive(Clone, Copy)]
pub struct RouteMatch<'r> {
    /// `None` if the path is not a route (404).
    pub route: Option<&'r Route>,
    /// `None` if the route does not have the method (405).
    pub operation: Option<&'r Operation>,
    /// The counters of the operation.
    pub counters: &'r RequestCounters,
    /// Whether the request is HEAD and is answered by GET without the body (RFC 9110 §9.3.2).
    pub is_head: bool,
}

impl Routes {
    /// The routes that the attributes of `api` describe, with the access to each method and path.
    pub fn of<T: OpenApi>(api: T, access: impl Fn(&Method, &str) -> Access) -> Self {
        let mut endpoints = Endpoints::new();
        api.add_routes(&mut endpoints);
        let unknown = Arc::new(RequestCounters::new(OTHER, OTHER));
        let mut routes = Self { exact: BTreeMap::new(), templates: vec![], unknown };
        for path in T::meta().into_iter().flat_map(|api| api.paths) {
            let pattern = pattern(&path.path);
            for operation in path.operations {
                let endpoint = endpoints.get_mut(&pattern).and_then(|of| of.remove(&operation.method));
                let endpoint = endpoint.expect("an attribute makes an endpoint for each operation");
                let endpoint =
                    if path.path.contains('{') { with_parameters(&path.path, endpoint) } else { endpoint };
                let query = QueryRules::of(&path.path, &operation);
                let access = access(&operation.method, &path.path);
                routes.add_operation(&path.path, operation.method, access, query, endpoint);
            }
        }
        routes
    }

    /// Adds a route that the document does not have. If it authenticates callers, its endpoint does.
    pub fn add<E: Endpoint<Output: IntoResponse> + 'static>(
        &mut self,
        template: &str,
        method: Method,
        endpoint: E,
    ) {
        let endpoint = endpoint.map_to_response().boxed();
        self.add_operation(template, method, Access::Public, QueryRules::default(), endpoint);
    }

    fn add_operation(
        &mut self,
        template: &str,
        method: Method,
        access: Access,
        query: QueryRules,
        endpoint: BoxEndpoint<'static>,
    ) {
        let route = if !template.contains('{') {
            self.exact.entry(template.into()).or_insert_with(|| Route::new(template))
        } else if let Some(at) = self.templates.iter().position(|route| *route.template == *template) {
            &mut self.templates[at]
        } else {
            self.templates.push(Route::new(template));
            self.templates.last_mut().expect("it was just added")
        };
        let counters = Arc::new(RequestCounters::new(template, method.as_str()));
        let endpoint = Handler::Described(endpoint);
        route.operations.push(Operation { method, access, query, endpoint, counters });
    }

    /// Answers a route, which is there already, by another endpoint.
    pub fn replace<E: Endpoint<Output: IntoResponse> + 'static>(
        &mut self,
        path: &str,
        method: &Method,
        endpoint: E,
    ) {
        self.operation_at(path, method).endpoint = Handler::Described(endpoint.map_to_response().boxed());
    }

    /// Calls the endpoint of a route, which is described already, without poem.
    pub fn call_directly(&mut self, path: &str, method: &Method, endpoint: impl Direct) {
        self.operation_at(path, method).endpoint = Handler::Direct(Box::new(endpoint));
    }

    fn operation_at(&mut self, path: &str, method: &Method) -> &mut Operation {
        let operations = self.exact.get_mut(path).into_iter().flat_map(|route| &mut route.operations);
        let mut operations = operations.into_iter();
        operations.find(|operation| operation.method == *method).expect("the route is there")
    }

    /// The route of a request.
    pub fn find(&self, method: &Method, path: &str) -> RouteMatch<'_> {
        let route = self.exact.get(path).or_else(|| self.templates.iter().find(|route| route.matches(path)));
        let Some(route) = route else {
            return RouteMatch { route: None, operation: None, counters: &self.unknown, is_head: false };
        };
        let is_head = *method == Method::HEAD && route.operation(&Method::GET).is_some();
        let operation = route.operation(if is_head { &Method::GET } else { method });
        let counters = operation.map_or(&*route.other, |operation| &*operation.counters);
        RouteMatch { route: Some(route), operation, counters, is_head }
    }

    /// Every route, ordered by path.
    pub fn iter(&self) -> impl Iterator<Item = &Route> {
        let mut all: Vec<&Route> = self.exact.values().chain(&self.templates).collect();
        all.sort_by(|a, b| a.template.cmp(&b.template));
        all.into_iter()
    }

    /// The counters of every operation, ordered by path.
    pub fn counters(&self) -> Vec<Arc<RequestCounters>> {
        let of_route = |route: &Route| {
            let operations = route.operations.iter().map(|operation| &operation.counters);
            operations.chain([&route.other]).cloned().collect::<Vec<_>>()
        };
        self.iter().flat_map(of_route).chain([self.unknown.clone()]).collect()
    }
}

impl Operation {
    /// The template of its route.
    pub fn route(&self) -> &str {
        &self.counters.route
    }
}

impl Route {
    fn new(template: &str) -> Self {
        let other = Arc::new(RequestCounters::new(template, OTHER));
        Self { template: template.into(), operations: vec![], other }
    }

    /// The path, with a name in braces for each parameter.
    pub fn template(&self) -> &str {
        &self.template
    }

    /// The methods, without the HEAD that comes with GET.
    pub fn methods(&self) -> impl Iterator<Item = &Method> {
        self.operations.iter().map(|operation| &operation.method)
    }

    /// The value of `Allow` (RFC 9110 §10.2.1).
    pub fn allow(&self) -> String {
        let mut names: Vec<&str> = self.methods().map(Method::as_str).collect();
        if names.contains(&"GET") {
            names.push("HEAD");
        }
        names.sort_unstable();
        names.join(", ")
    }

    fn operation(&self, method: &Method) -> Option<&Operation> {
        self.operations.iter().find(|operation| operation.method == *method)
    }

    fn matches(&self, path: &str) -> bool {
        let mut segments = path.split('/');
        let matches = |expected: &str| {
            segments.next().is_some_and(|segment| {
                if expected.starts_with('{') { !segment.is_empty() } else { segment == expected }
            })
        };
        self.template.split('/').all(matches) && segments.next().is_none()
    }
}

/// How poem writes a path with parameters: by number, not by name.
fn pattern(template: &str) -> String {
    let mut parameters = 0;
    let segment = |segment: &str| {
        if !segment.starts_with('{') {
            return segment.to_owned();
        }
        parameters += 1;
        format!(":param{}", parameters - 1)
    };
    template.split('/').map(segment).collect::<Vec<_>>().join("/")
}

/// Puts the parameters of the path into a request, for [`Path`](crate::http::request::parameters::Path).
fn with_parameters(template: &str, endpoint: BoxEndpoint<'static>) -> BoxEndpoint<'static> {
    let is_parameter: Vec<bool> = template.split('/').map(|segment| segment.starts_with('{')).collect();
    let endpoint = endpoint.before(move |mut request: Request| {
        let segments = request.uri().path().split('/').zip(&is_parameter);
        let parameters = segments.filter(|(_, is_parameter)| **is_parameter);
        let parameters = PathParameters(parameters.map(|(segment, _)| segment.into()).collect());
        request.extensions_mut().insert(parameters);
        async { Ok(request) }
    });
    endpoint.boxed()
}

#[cfg(test)]
mod tests {
    use poem::endpoint::make_sync;
    use poem_openapi::payload::PlainText;

    use super::*;
    use crate::domain::id::KeyId;
    use crate::http::request::{Path, Query, ShortText, Text, Whole};

    struct Keys;

    #[OpenApi]
    impl Keys {
        #[oai(path = "/v1/keys", method = "get")]
        async fn list(&self, first: Query<Option<Whole<1, 9>>>) -> PlainText<String> {
            PlainText(format!("list {:?}", first.read().unwrap().map(|first| first.0)))
        }

        #[oai(path = "/v1/keys", method = "delete")]
        async fn delete_all(&self) -> PlainText<String> {
            PlainText("deleted".to_owned())
        }

        #[oai(path = "/v1/keys/rotate", method = "post")]
        async fn rotate(&self) -> PlainText<String> {
            PlainText("rotated".to_owned())
        }

        #[oai(path = "/v1/keys/:kid", method = "get")]
        async fn read(&self, kid: Path<Text<KeyId>>) -> PlainText<String> {
            PlainText(kid.read().unwrap().0)
        }

        #[oai(path = "/v1/keys/:kid/uses/:use", method = "get")]
        async fn read_use(&self, kid: Path<Text<KeyId>>, r#use: Path<Text<ShortText>>) -> PlainText<String> {
            PlainText(format!("{} {}", kid.read().unwrap().0, r#use.read().unwrap().0))
        }
    }

    fn routes() -> Routes {
        let mut routes = Routes::of(Keys, |_, _| Access::Public);
        routes.add("/docs", Method::GET, make_sync(|_| "docs"));
        routes
    }

    fn template<'r>(routes: &'r Routes, path: &str) -> Option<&'r str> {
        routes.find(&Method::GET, path).route.map(Route::template)
    }

    #[test]
    fn a_path_has_one_route_and_an_exact_path_comes_first() {
        let routes = routes();
        assert_eq!(template(&routes, "/docs"), Some("/docs"));
        assert_eq!(template(&routes, "/v1/keys/rotate"), Some("/v1/keys/rotate"));
        assert_eq!(template(&routes, "/v1/keys/abc"), Some("/v1/keys/{kid}"));
        assert_eq!(template(&routes, "/v1/keys/rotate/uses/a"), Some("/v1/keys/{kid}/uses/{use}"));
        for unknown in
            ["/", "", "*", "/docs/", "/v1/keys/", "/v1/keys//uses/a", "/v1/keys/a/uses", "/v1/key%73"]
        {
            assert_eq!(template(&routes, unknown), None, "{unknown}");
        }
    }

    #[test]
    fn allow_lists_the_methods_and_head_with_get() {
        let routes = routes();
        let allow = |path| routes.find(&Method::PUT, path).route.map(Route::allow);
        assert_eq!(allow("/v1/keys").as_deref(), Some("DELETE, GET, HEAD"));
        assert_eq!(allow("/v1/keys/rotate").as_deref(), Some("POST"));
        assert!(routes.find(&Method::PUT, "/v1/keys").operation.is_none());
    }

    #[test]
    fn head_is_answered_by_get_where_there_is_get_met_12() {
        let routes = routes();
        let of = |path| {
            let target = routes.find(&Method::HEAD, path);
            (target.is_head, target.operation.map(|operation| operation.method.as_str()))
        };
        assert_eq!(of("/docs"), (true, Some("GET")));
        assert_eq!(of("/v1/keys/rotate"), (false, None));
        assert_eq!(of("/v1/nothing"), (false, None));
    }

    #[tokio::test]
    async fn an_endpoint_gets_the_parameters_of_path_and_query() {
        let routes = routes();
        for (method, path, answer) in [
            (Method::GET, "/v1/keys?first=3", "list Some(3)"),
            (Method::DELETE, "/v1/keys", "deleted"),
            (Method::POST, "/v1/keys/rotate", "rotated"),
            (Method::GET, "/v1/keys/a%2Fb", "a/b"),
            (Method::GET, "/v1/keys/a/uses/%C5%BC", "a \u{17c}"),
            (Method::GET, "/docs", "docs"),
        ] {
            let uri: poem::http::Uri = path.parse().unwrap();
            let target = routes.find(&method, uri.path());
            let request = poem::Request::builder().method(method).uri(uri.clone()).finish();
            let Handler::Described(endpoint) = &target.operation.unwrap().endpoint else { unreachable!() };
            let response = endpoint.call(request).await.unwrap();
            assert_eq!(response.into_body().into_string().await.unwrap(), answer, "{path}");
        }
    }
}
