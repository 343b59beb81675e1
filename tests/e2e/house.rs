//! keyfob, a proxy in front of it with the configuration that `examples/web` ships, and an application
//! behind: on free ports, gone when dropped.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::atomic::{AtomicU16, Ordering};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::replicas;

/// Which proxy is in front.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Proxy {
    Nginx,
    Caddy,
    Traefik,
}

/// A child process. Killed when dropped.
pub struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// What people come to, and what is behind it.
pub struct House {
    pub directory: TempDir,
    /// `https://localhost:port`.
    pub url: String,
    /// The secret of the client `web`.
    pub secret: String,
    /// Where keyfob listens.
    pub keyfob: String,
    /// Where the application is to listen.
    pub application: u16,
    servers: Vec<Running>,
    running: Vec<Running>,
}

/// An answer as curl shows it.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub headers: Vec<(String, String)>,
    pub body: String,
}

impl House {
    /// Everything but the application. `settings` are environment variables of keyfob.
    pub fn build(proxy: Proxy, settings: &[(&str, &str)]) -> Self {
        let house = Self::unregistered(proxy, settings);
        let secret = register(house.directory.path(), &house.keyfob);
        Self { secret, ..house }
    }

    /// The same before the application is registered.
    pub fn unregistered(proxy: Proxy, settings: &[(&str, &str)]) -> Self {
        let directory = TempDir::new().unwrap();
        let [keyfob_port, application, tls] = [free_port(), free_port(), free_port()];
        let (keyfob, url) = (format!("127.0.0.1:{keyfob_port}"), format!("https://localhost:{tls}"));
        let servers = start_keyfob(directory.path(), &keyfob, &url, settings);
        let running = vec![start_proxy(proxy, directory.path(), keyfob_port, application, tls)];
        wait_for(tls);
        // Traefik listens before it knows its routes.
        while curl(&["--retry", "20", "--retry-all-errors", &format!("{url}/v1/session")]).status == 404 {
            std::thread::sleep(Duration::from_millis(50));
        }
        Self { directory, url, secret: String::new(), keyfob, application, servers, running }
    }

    /// What is written for the usual ports, for ours.
    pub fn with_our_ports(&self, text: &str) -> String {
        let port = |address: &str| address.rsplit(':').next().unwrap().parse().unwrap();
        with_ports(text, port(&self.keyfob), self.application, port(&self.url))
    }

    /// Runs the example application.
    pub fn run_example(&mut self) {
        let (port, keyfob) = (self.application.to_string(), format!("http://{}", self.keyfob));
        let mut app = Command::new("python3");
        app.arg("-B").arg(example("app.py"));
        app.envs([
            ("KEYFOB", &*keyfob),
            ("CLIENT_ID", "web"),
            ("CLIENT_SECRET", &self.secret),
            ("PORT", &port),
        ]);
        self.running.push(start(&mut app, "python3"));
        wait_for(self.application);
    }

    /// Stops keyfob.
    pub fn stop_keyfob(&mut self) {
        self.servers.clear();
    }

    /// Opens a session as the application would, and answers the body of the opening.
    pub fn open(&self, body: &Value) -> Value {
        let answer = curl(&[
            "-u",
            &format!("web:{}", self.secret),
            "-H",
            "content-type: application/json",
            "-d",
            &body.to_string(),
            &format!("http://{}/v1/sessions", self.keyfob),
        ]);
        assert_eq!(answer.status, 201, "{answer:?}");
        serde_json::from_str(&answer.body).unwrap()
    }

    /// Asks through the proxy.
    pub fn ask(&self, path: &str, arguments: &[&str]) -> Answer {
        let url = format!("{}{path}", self.url);
        curl(&[arguments, &[&url]].concat())
    }
}

impl Answer {
    /// A header; empty if it is not there.
    pub fn header(&self, name: &str) -> &str {
        self.headers.iter().find(|(n, _)| n.eq_ignore_ascii_case(name)).map_or("", |(_, value)| value)
    }
}

/// Starts keyfob, one process or several replicas, and waits until it serves.
pub fn start_keyfob(directory: &Path, listen: &str, issuer: &str, settings: &[(&str, &str)]) -> Vec<Running> {
    match replicas::number() {
        1 => vec![serve(directory, listen, issuer, settings)],
        _ => replicas::serve_all(directory, listen, issuer, settings),
    }
}

/// Starts a process of keyfob, and waits until it serves.
pub fn serve(directory: &Path, listen: &str, issuer: &str, settings: &[(&str, &str)]) -> Running {
    let mut command = Command::new(env!("CARGO_BIN_EXE_keyfob"));
    command.args(["serve", "--listen", listen, "--issuer", issuer]).current_dir(directory);
    command.env_clear().envs(settings.iter().copied()).stdin(Stdio::null()).stdout(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap());
    let mut greeting = String::new();
    while !greeting.contains("try it") && lines.read_line(&mut greeting).unwrap() > 0 {}
    assert!(greeting.contains("try it"), "keyfob did not start");
    Running(child)
}

/// Registers the application, as the administrator, and answers its secret.
fn register(directory: &Path, keyfob: &str) -> String {
    let credentials = format!("admin:{}", administrator(directory));
    let fields = json!({
        "client_id": "web", "permissions": ["sessions"], "grants": ["refresh_token"],
        "scopes": ["read", "write"],
    });
    let url = format!("http://{keyfob}/v1/clients");
    let answer =
        curl(&["-u", &credentials, "-H", "content-type: application/json", "-d", &fields.to_string(), &url]);
    assert_eq!(answer.status, 201, "{answer:?}");
    serde_json::from_str::<Value>(&answer.body).unwrap()["client_secret"].as_str().unwrap().to_owned()
}

/// The administrator's secret.
pub fn administrator(directory: &Path) -> String {
    let admin: Value =
        serde_json::from_slice(&std::fs::read(directory.join("data/admin.json")).unwrap()).unwrap();
    admin["client_secret"].as_str().unwrap().to_owned()
}

/// Starts the proxy with the configuration that we ship, on our ports.
fn start_proxy(proxy: Proxy, directory: &Path, keyfob: u16, application: u16, tls: u16) -> Running {
    let (names, package) = match proxy {
        Proxy::Nginx => (&["nginx.conf"][..], "nginx"),
        Proxy::Caddy => (&["Caddyfile"][..], "caddy"),
        Proxy::Traefik => (&["traefik.yml", "traefik-routes.yml"][..], "traefik"),
    };
    for name in names {
        let shipped = std::fs::read_to_string(example(name)).unwrap();
        std::fs::write(directory.join(name), with_ports(&shipped, keyfob, application, tls)).unwrap();
    }
    let file = directory.join(names[0]);
    let mut command = Command::new(package);
    command
        .current_dir(directory)
        .env("XDG_DATA_HOME", directory)
        .env("HOME", directory)
        .stdin(Stdio::null());
    // What they say is for a person who looks: `cargo test -- --nocapture`.
    let log = std::fs::File::create(directory.join("proxy.log")).unwrap();
    command.stdout(Stdio::null()).stderr(log);
    match proxy {
        Proxy::Nginx => {
            certify(directory, "localhost");
            command.arg("-p").arg(directory).arg("-c").arg(&file);
        }
        Proxy::Caddy => {
            command.args(["run", "--adapter", "caddyfile", "--config"]).arg(&file);
        }
        Proxy::Traefik => {
            command.arg("--configfile").arg(&file);
        }
    }
    start(&mut command, package)
}

/// Makes `cert.pem` and `key.pem`, for a day.
pub fn certify(directory: &Path, host: &str) {
    let mut openssl = Command::new("openssl");
    openssl.args([
        "req",
        "-x509",
        "-newkey",
        "ec",
        "-pkeyopt",
        "ec_paramgen_curve:P-256",
        "-nodes",
        "-days",
        "1",
    ]);
    openssl.args(["-subj", &format!("/CN={host}"), "-addext", &format!("subjectAltName=DNS:{host}")]);
    let made =
        output(openssl.args(["-keyout", "key.pem", "-out", "cert.pem"]).current_dir(directory), "openssl");
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
}

fn with_ports(text: &str, keyfob: u16, application: u16, tls: u16) -> String {
    let ours = [("8080", keyfob), ("9000", application), ("8443", tls)];
    // By way of letters: one of our ports may hold the digits of one of theirs.
    let marked =
        ours.iter().fold(text.to_owned(), |text, (theirs, _)| text.replace(theirs, &format!("<{theirs}>")));
    ours.iter().fold(marked, |text, (theirs, port)| text.replace(&format!("<{theirs}>"), &port.to_string()))
}

/// A file of the example.
pub fn example(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/web").join(name)
}

/// An application that answers with the head of whatever request reaches it, and hands the heads to who wants
/// to see them.
pub fn echo(port: u16) -> Receiver<String> {
    let (hands, heads) = channel();
    let listener = TcpListener::bind(("127.0.0.1", port)).unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let mut head = String::new();
            let mut reader = BufReader::new(stream.try_clone().unwrap());
            while !head.ends_with("\r\n\r\n") && reader.read_line(&mut head).unwrap_or(0) > 0 {}
            let length = head
                .lines()
                .find_map(|line| line.to_ascii_lowercase().strip_prefix("content-length: ")?.parse().ok());
            let mut body = vec![0; length.unwrap_or(0)];
            let _ = reader.read_exact(&mut body);
            let answer = format!("{head}{}", String::from_utf8_lossy(&body));
            let _ = hands.send(head);
            let _ = write!(
                stream,
                "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: {}\r\n\r\n{answer}",
                answer.len()
            );
        }
    });
    heads
}

/// Runs curl, which believes our own certificates.
pub fn curl(arguments: &[&str]) -> Answer {
    let shown = output(
        Command::new("curl").args(["-k", "-s", "-S", "-i", "--max-time", "20"]).args(arguments),
        "curl",
    );
    let text = String::from_utf8(shown.stdout).unwrap();
    assert!(shown.status.success(), "{}", String::from_utf8_lossy(&shown.stderr));
    let (head, body) = text.split_once("\r\n\r\n").unwrap();
    let mut lines = head.lines();
    let status = lines.next().unwrap().split(' ').nth(1).unwrap().parse().unwrap();
    let headers = lines
        .filter_map(|line| line.split_once(": "))
        .map(|(name, value)| (name.into(), value.into()))
        .collect();
    Answer { status, headers, body: body.into() }
}

/// Runs a program to its end. A test that needs what is not there fails, and says what to do.
pub fn output(command: &mut Command, package: &str) -> Output {
    command.output().unwrap_or_else(|error| panic!("{error}: `apt-get install {package}`"))
}

/// Starts a program. A test that needs what is not there fails, and says what to do.
pub fn start(command: &mut Command, package: &str) -> Running {
    Running(command.spawn().unwrap_or_else(|error| panic!("{error}: `apt-get install {package}`")))
}

/// Waits until something listens there.
pub fn wait_for(port: u16) {
    for _ in 0..200 {
        if TcpStream::connect(("127.0.0.1", port)).is_ok() {
            return;
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    panic!("nothing listens on {port}");
}

/// A port that is free, another one at each call. The system gives ports from 32768 on to outgoing
/// connections, which may take them before a program listens; so these are below.
pub fn free_port() -> u16 {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let first = 10_000 + (std::process::id() % 20_000) as u16;
    let mut ports = std::iter::repeat_with(|| first + NEXT.fetch_add(1, Ordering::Relaxed));
    ports.find(|port| TcpListener::bind(("127.0.0.1", *port)).is_ok()).unwrap()
}
