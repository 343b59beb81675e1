//! The counterpart of introspection: a bare hyper server that reads the same form and returns the same bytes,
//! in a process of its own.

use std::convert::Infallible;
use std::process::{Child, Command, ExitCode};

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

/// The server as seen from outside.
pub struct Bare {
    child: Child,
    pub port: u16,
}

impl Bare {
    /// Starts one that always returns the content of `answer`.
    pub fn start(answer: &std::path::Path) -> Self {
        let port = free_port();
        let mut command = Command::new(std::env::current_exe().expect("we run"));
        command.arg("bare").arg(port.to_string()).arg(answer);
        let child = on_server_core(|| command.spawn().expect("we can run once more"));
        while std::net::TcpStream::connect(("127.0.0.1", port)).is_err() {
            std::thread::sleep(std::time::Duration::from_millis(5));
        }
        Self { child, port }
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }
}

impl Drop for Bare {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The server itself.
pub fn serve(port: &str, answer: &str) -> ExitCode {
    let answer: &'static [u8] = std::fs::read(answer).expect("the answer is in the file").leak();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async {
        let listener = TcpListener::bind(format!("127.0.0.1:{port}")).await.expect("the port is free");
        while let Ok((stream, _)) = listener.accept().await {
            stream.set_nodelay(true).expect("it is TCP");
            let service = service_fn(move |request| respond(request, answer));
            tokio::spawn(http1::Builder::new().serve_connection(TokioIo::new(stream), service));
        }
    });
    ExitCode::SUCCESS
}

async fn respond(
    request: Request<Incoming>,
    answer: &'static [u8],
) -> Result<Response<Full<Bytes>>, Infallible> {
    let body = request.into_body().collect().await.expect("the load sends whole bodies").to_bytes();
    let token = body.split(|byte| *byte == b'&').find_map(|pair| pair.strip_prefix(b"token="));
    let response = Response::builder()
        .header(header::CONTENT_TYPE, "application/json")
        .header(header::X_CONTENT_TYPE_OPTIONS, "nosniff")
        .header(header::CACHE_CONTROL, "no-store")
        .header(header::PRAGMA, "no-cache");
    let answer = if token.is_some_and(|token| !token.is_empty()) { answer } else { b"{}" };
    Ok(response.body(Full::new(Bytes::from_static(answer))).expect("the headers are good"))
}
