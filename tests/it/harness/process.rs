//! The real binary as a process: started, asked over its sockets, killed, started again.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

use rustix::process::Signal;
use serde_json::Value;

use crate::harness::server::{Answer, Client, basic, text};

/// A running `keyfob serve`. Killed when dropped.
pub struct Process {
    child: Child,
    /// Where it listens.
    pub address: String,
    /// What it has printed up to the first line that says it listens.
    pub greeting: String,
}

/// A `keyfob` command in `directory`, with an environment of its own.
pub fn keyfob(directory: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_keyfob"));
    command.args(arguments).current_dir(directory).env_clear().stdin(Stdio::null());
    command
}

/// A copy of the program that other users can run, in `directory`. Another process writes it: a file that is
/// open for writing cannot be executed, and what tests start meanwhile inherits the open files of this one.
pub fn program_in(directory: &Path) -> PathBuf {
    let program = directory.join("keyfob");
    let copied = Command::new("cp").arg(env!("CARGO_BIN_EXE_keyfob")).arg(&program).status();
    assert!(copied.unwrap().success());
    program
}

/// Runs a command to its end.
pub fn run(directory: &Path, arguments: &[&str]) -> Output {
    keyfob(directory, arguments).output().unwrap()
}

impl Process {
    /// Starts a server in `directory` on a free port, and waits until it says that it listens.
    pub fn start(directory: &Path) -> Self {
        Self::with(directory, &[])
    }

    /// The same, with settings in its environment, such as `("KEYFOB_LOG__LEVEL", "debug")`. Its log goes to
    /// `log.txt`.
    pub fn with(directory: &Path, environment: &[(&str, &str)]) -> Self {
        Self::at(directory, free_port(), environment)
    }

    /// The same on a port: one that starts again where it was has the same issuer, so that its tokens stay
    /// valid.
    pub fn at(directory: &Path, port: u16, environment: &[(&str, &str)]) -> Self {
        Self::try_at(directory, port, environment)
            .unwrap_or_else(|| panic!("{}", std::fs::read_to_string(directory.join("log.txt")).unwrap()))
    }

    /// The same; `None` if it ends instead.
    pub fn try_at(directory: &Path, port: u16, environment: &[(&str, &str)]) -> Option<Self> {
        let address = format!("127.0.0.1:{port}");
        let mut command =
            keyfob(directory, &["serve", "--listen", &address, "--issuer", &format!("http://{address}")]);
        command.envs(environment.iter().copied());
        let mut server = Self::try_until(directory, &mut command, "try it")?;
        server.address = address;
        Some(server)
    }

    /// Starts a server by a command, and waits until it says that it listens. Its log goes to `log.txt`.
    pub fn by(directory: &Path, command: &mut Command, address: String) -> Self {
        let mut server = Self::until(directory, command, "try it");
        server.address = address;
        server
    }

    /// The same, until it has printed `last`, and with no address.
    pub fn until(directory: &Path, command: &mut Command, last: &str) -> Self {
        Self::try_until(directory, command, last)
            .unwrap_or_else(|| panic!("{}", std::fs::read_to_string(directory.join("log.txt")).unwrap()))
    }

    fn try_until(directory: &Path, command: &mut Command, last: &str) -> Option<Self> {
        let log = std::fs::File::options().append(true).create(true).open(directory.join("log.txt")).unwrap();
        let mut child = command.stdout(Stdio::piped()).stderr(log).spawn().unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap());
        let mut greeting = String::new();
        // A server that fails closes its output.
        while !greeting.contains(last) && lines.read_line(&mut greeting).unwrap() > 0 {}
        let server = Self { child, address: String::new(), greeting };
        // What has ended is waited for when it is dropped.
        server.greeting.contains(last).then_some(server)
    }

    /// The process id.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// SIGKILL: no chance to finish anything.
    pub fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// SIGTERM, and the exit status.
    pub fn stop(self) -> i32 {
        self.signal(Signal::TERM);
        self.wait()
    }

    /// Sends a signal, and does not wait for what comes of it.
    pub fn signal(&self, signal: Signal) {
        let id = rustix::process::Pid::from_raw(i32::try_from(self.child.id()).unwrap()).unwrap();
        rustix::process::kill_process(id, signal).unwrap();
    }

    /// Waits until it has ended by itself, and answers the exit status.
    pub fn wait(mut self) -> i32 {
        self.child.wait().unwrap().code().unwrap()
    }

    /// Posts a form.
    pub fn form(&self, path: &str, client: Option<&Client>, fields: &[(&str, &str)]) -> Answer {
        let encode = |text: &str| {
            percent_encoding::utf8_percent_encode(text, percent_encoding::NON_ALPHANUMERIC).to_string()
        };
        let body: Vec<String> =
            fields.iter().map(|(name, value)| format!("{}={}", encode(name), encode(value))).collect();
        self.send("POST", path, client, "application/x-www-form-urlencoded", &body.join("&")).unwrap()
    }

    /// Sends JSON.
    pub fn json(&self, method: &str, path: &str, client: Option<&Client>, body: &Value) -> Answer {
        self.send(method, path, client, "application/json", &body.to_string()).unwrap()
    }

    /// Sends a request on a connection of its own. `Err` when the server goes away in the middle.
    pub fn send(
        &self,
        method: &str,
        path: &str,
        client: Option<&Client>,
        content_type: &str,
        body: &str,
    ) -> std::io::Result<Answer> {
        let mut stream = TcpStream::connect(&self.address)?;
        exchange(&mut stream, method, path, client, content_type, body)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Waits until the servers in `directory` have logged this, for a minute at most.
pub fn until_logged(directory: &Path, text: &str) {
    let log = || std::fs::read_to_string(directory.join("log.txt")).unwrap();
    for _ in 0..6_000 {
        if log().contains(text) {
            return;
        }
        std::thread::sleep(std::time::Duration::from_millis(10));
    }
    panic!("not logged: {text}\n{}", log());
}

/// Sends a request through the admin socket of the server in `directory`.
pub fn through_socket(directory: &Path, method: &str, path: &str, body: &Value) -> Answer {
    let mut stream = UnixStream::connect(data(directory, "admin.sock")).unwrap();
    exchange(&mut stream, method, path, None, "application/json", &body.to_string()).unwrap()
}

/// The administrator's credentials in `directory`.
pub fn admin(directory: &Path) -> Client {
    let file: Value = serde_json::from_slice(&std::fs::read(data(directory, "admin.json")).unwrap()).unwrap();
    Client { id: text(&file["client_id"]), secret: text(&file["client_secret"]) }
}

/// A file beside the store.
pub fn data(directory: &Path, name: &str) -> PathBuf {
    directory.join("data").join(name)
}

/// Sends a request and reads the answer to its end.
pub fn exchange(
    stream: &mut (impl Read + Write),
    method: &str,
    path: &str,
    client: Option<&Client>,
    content_type: &str,
    body: &str,
) -> std::io::Result<Answer> {
    let authorization = client
        .map(|client| format!("Authorization: {}\r\n", basic(&client.id, &client.secret)))
        .unwrap_or_default();
    let length = body.len();
    write!(
        stream,
        "{method} {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n{authorization}Content-Type: \
         {content_type}\r\nContent-Length: {length}\r\n\r\n{body}"
    )?;
    let mut received = vec![];
    stream.read_to_end(&mut received)?;
    let gone = || std::io::Error::from(std::io::ErrorKind::UnexpectedEof);
    let head = received.windows(4).position(|window| window == b"\r\n\r\n").ok_or_else(gone)?;
    let mut lines = std::str::from_utf8(&received[..head]).map_err(std::io::Error::other)?.split("\r\n");
    let status = lines.next().and_then(|line| line.split(' ').nth(1)?.parse().ok()).ok_or_else(gone)?;
    let mut headers = http::HeaderMap::new();
    for (name, value) in lines.filter_map(|line| line.split_once(": ")) {
        headers.append(name.parse::<http::HeaderName>().unwrap(), value.parse().unwrap());
    }
    let body = received.split_off(head + 4);
    let announced =
        headers.get("content-length").and_then(|value| value.to_str().ok()?.parse::<usize>().ok());
    if announced.is_some_and(|announced| announced != body.len()) {
        return Err(gone());
    }
    Ok(Answer { status, headers, body: body.into() })
}

/// A port that was free a moment ago.
pub fn free_port() -> u16 {
    std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}
