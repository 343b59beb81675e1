//! The counterpart of rotation: Redis with an append-only file synced before every answer, if `redis-server`
//! is installed.

use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use crate::CONNECTIONS;
use crate::machine::on_server_core;
use crate::report::Against;
use crate::server::free_port;
use crate::talk::{Run, Talk, each, run};

/// A running Redis. Killed when dropped.
pub struct Redis {
    child: Child,
    port: u16,
}

impl Redis {
    /// Starts one in `directory`; `None` if it is not installed.
    pub fn start(directory: &Path) -> Option<Self> {
        Command::new("redis-server")
            .arg("--version")
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status()
            .ok()?;
        let port = free_port();
        let mut command = Command::new("redis-server");
        command.args([
            "--port",
            &port.to_string(),
            "--bind",
            "127.0.0.1",
            "--save",
            "",
            "--appendonly",
            "yes",
            "--appendfsync",
            "always",
            "--dir",
        ]);
        command.arg(directory).stdout(Stdio::null());
        let child = on_server_core(|| command.spawn().expect("it ran a moment ago"));
        while TcpStream::connect(("127.0.0.1", port)).is_err() {
            std::thread::sleep(Duration::from_millis(5));
        }
        Some(Self { child, port })
    }

    /// Asks `count` questions.
    pub fn run<T: Talk>(&self, talks: Vec<T>, count: usize) -> Run<T> {
        run(self.child.id(), self.port, talks, count)
    }
}

impl Drop for Redis {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// One figure of each run of a Redis, if there was one.
pub fn against<T>(runs: &[Run<T>], figure: fn(&Run<T>) -> f64) -> Against {
    if runs.is_empty() { Against::Missing("redis-server") } else { Against::Rounds(each(runs, figure)) }
}

/// `SET` of 300 bytes under one key after another of as many as there are sessions.
pub struct Set {
    next: usize,
    step: usize,
    keys: usize,
}

impl Set {
    /// The conversations of `connections`.
    pub fn talks(connections: usize, keys: usize) -> Vec<Self> {
        (0..connections).map(|first| Self { next: first * 7919, step: 7919 * connections, keys }).collect()
    }
}

impl Talk for Set {
    fn ask(&mut self, out: &mut Vec<u8>) {
        command(out, &["SET", &session_key(self.next % self.keys), &"x".repeat(300)]);
        self.next += self.step;
    }

    fn answered(&mut self, input: &[u8]) -> Option<usize> {
        assert!(b"+OK\r\n".starts_with(&input[..input.len().min(5)]), "{}", String::from_utf8_lossy(input));
        (input.len() >= 5).then_some(5)
    }
}

/// `GET` of 200 bytes under one key.
pub struct Get;

impl Get {
    pub fn talks() -> Vec<Self> {
        (0..CONNECTIONS).map(|_| Self).collect()
    }
}

impl Talk for Get {
    fn ask(&mut self, out: &mut Vec<u8>) {
        out.extend_from_slice(b"*2\r\n$3\r\nGET\r\n$5\r\nprobe\r\n");
    }

    fn answered(&mut self, input: &[u8]) -> Option<usize> {
        const WHOLE: usize = 6 + 200 + 2;
        (input.len() >= WHOLE).then_some(WHOLE)
    }
}

/// Puts there what [`Get`] asks for.
pub struct Put;

impl Talk for Put {
    fn ask(&mut self, out: &mut Vec<u8>) {
        command(out, &["SET", "probe", &"x".repeat(200)]);
    }

    fn answered(&mut self, input: &[u8]) -> Option<usize> {
        (input.len() >= 5).then_some(5)
    }
}

/// `SET` of 300 bytes and `SADD` of its key to the set of a subject, in one write.
#[derive(Clone)]
pub struct OpenInRedis {
    /// `None` if each is of a new subject.
    subject: Option<String>,
}

/// No key is used twice.
static KEYS: AtomicUsize = AtomicUsize::new(0);

impl OpenInRedis {
    pub fn talks(connections: usize, subject: Option<&str>) -> Vec<Self> {
        vec![Self { subject: subject.map(str::to_owned) }; connections]
    }
}

impl Talk for OpenInRedis {
    fn ask(&mut self, out: &mut Vec<u8>) {
        let number = KEYS.fetch_add(1, Ordering::Relaxed);
        let (key, new) = (session_key(number), format!("user-{number:08}"));
        let subject = self.subject.as_deref().unwrap_or(&new);
        command(out, &["SET", &key, &"x".repeat(300)]);
        command(out, &["SADD", subject, &key]);
    }

    fn answered(&mut self, input: &[u8]) -> Option<usize> {
        const WHOLE: usize = "+OK\r\n:1\r\n".len();
        assert!(input.starts_with(b"+OK\r\n"), "{}", String::from_utf8_lossy(input));
        (input.len() >= WHOLE).then_some(WHOLE)
    }
}

/// `SMEMBERS` of a subject, then `DEL` of its sessions and of the set, for one subject after another.
pub struct EndSubject {
    subjects: Vec<String>,
    sessions: usize,
    /// Between the two.
    members: Option<Vec<String>>,
}

impl EndSubject {
    pub fn new(subjects: Vec<String>, sessions: usize) -> Self {
        Self { subjects, sessions, members: None }
    }
}

impl Talk for EndSubject {
    fn ask(&mut self, out: &mut Vec<u8>) {
        let subject = self.subjects.last().expect("one for each request");
        match &self.members {
            None => command(out, &["SMEMBERS", subject]),
            Some(members) => {
                let keys = ["DEL", subject].into_iter().chain(members.iter().map(String::as_str));
                command(out, &keys.collect::<Vec<_>>());
            }
        }
    }

    fn answered(&mut self, input: &[u8]) -> Option<usize> {
        if self.members.take().is_some() {
            let answer = format!(":{}\r\n", self.sessions + 1);
            assert!(answer.as_bytes().starts_with(input), "{}", String::from_utf8_lossy(input));
            self.subjects.pop();
            return Some(answer.len());
        }
        // All keys have one length, so that of the answer is known.
        let (head, member) = (format!("*{}\r\n", self.sessions), format!("$16\r\n{}\r\n", session_key(0)));
        let whole = head.len() + self.sessions * member.len();
        if input.len() < whole {
            return None;
        }
        let lines = input[head.len()..].chunks_exact(member.len());
        self.members =
            Some(lines.map(|line| String::from_utf8_lossy(&line[5..line.len() - 2]).into_owned()).collect());
        Some(whole)
    }
}

fn session_key(number: usize) -> String {
    format!("session:{number:08}")
}

fn command(out: &mut Vec<u8>, words: &[&str]) {
    out.extend_from_slice(format!("*{}\r\n", words.len()).as_bytes());
    for word in words {
        out.extend_from_slice(format!("${}\r\n{word}\r\n", word.len()).as_bytes());
    }
}
