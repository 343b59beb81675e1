//! A bare hyper server: the counterpart of introspection, which reads the same form and returns the same
//! bytes, and the frame of the other counterparts that this program runs as processes of their own.

use std::convert::Infallible;
use std::ffi::OsStr;
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Command, ExitCode};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response, header};
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;

use crate::machine::on_server_core;
use crate::server::free_port;

/// A counterpart as seen from outside. Killed when dropped.
pub struct Counterpart {
    child: Child,
    pub port: u16,
}

impl Counterpart {
    /// Starts this program on the server's core as the counterpart `name`; see `main`.
    pub fn start(name: &str, arguments: &[&Path]) -> Self {
        let port = free_port();
        let mut command = Command::new(std::env::current_exe().expect("this program has a path"));
        command.arg(name).arg(port.to_string()).args(arguments.iter().map(|path| OsStr::new(*path)));
        let child = on_server_core(|| command.spawn().expect("this program can be started again"));
        while TcpStream::connect(("127.0.0.1", port)).is_err() {
            std::thread::sleep(Duration::from_millis(5));
        }
        Self { child, port }
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }
}

impl Drop for Counterpart {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The server that returns the content of the file `answer`.
pub fn serve(port: &str, answer: &str) -> ExitCode {
    let answer: &'static [u8] = std::fs::read(answer).expect("the answer is in the file").leak();
    serve_forms(port, move |body| {
        let known = field(&body, b"token=").is_some_and(|token| !token.is_empty());
        std::future::ready(Bytes::from_static(if known { answer } else { b"{}" }))
    })
}

/// The value of the first field that starts with `name`, which ends in `=`.
pub fn field<'a>(body: &'a [u8], name: &[u8]) -> Option<&'a [u8]> {
    body.split(|byte| *byte == b'&').find_map(|pair| pair.strip_prefix(name))
}

/// Answers each form with what `answer` returns, on one thread.
pub fn serve_forms<A, F>(port: &str, answer: A) -> ExitCode
where
    A: Fn(Bytes) -> F + Clone + Send + 'static,
    F: Future<Output = Bytes> + Send + 'static,
{
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async {
        let listener = TcpListener::bind(format!("127.0.0.1:{port}")).await.expect("the port is free");
        while let Ok((stream, _)) = listener.accept().await {
            stream.set_nodelay(true).expect("it is TCP");
            let answer = answer.clone();
            let service = service_fn(move |request| respond(request, answer.clone()));
            tokio::spawn(http1::Builder::new().serve_connection(TokioIo::new(stream), service));
        }
    });
    ExitCode::SUCCESS
}

async fn respond<F: Future<Output = Bytes>>(
    request: Request<Incoming>,
    answer: impl Fn(Bytes) -> F,
) -> Result<Response<Full<Bytes>>, Infallible> {
    let body = request.into_body().collect().await.expect("the load sends whole bodies").to_bytes();
    let answer = answer(body).await;
    let response = Response::builder()
        .header(header::CONTENT_TYPE, "application/json")
        .header(header::X_CONTENT_TYPE_OPTIONS, "nosniff")
        .header(header::CACHE_CONTROL, "no-store")
        .header(header::PRAGMA, "no-cache");
    Ok(response.body(Full::new(answer)).expect("the headers are valid"))
}
