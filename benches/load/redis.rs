//! The counterpart of rotation: Redis with an append-only file synced before every answer, if `redis-server`
//! is installed.

use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use crate::machine::on_server_core;
use crate::server::free_port;
use crate::talk::Talk;

/// A running Redis. Killed when dropped.
pub struct Redis {
    child: Child,
    pub port: u16,
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

    pub fn pid(&self) -> u32 {
        self.child.id()
    }
}

impl Drop for Redis {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
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
        let key = format!("session:{:08}", self.next % self.keys);
        self.next += self.step;
        out.extend_from_slice(
            format!("*3\r\n$3\r\nSET\r\n${}\r\n{key}\r\n$300\r\n{}\r\n", key.len(), "x".repeat(300))
                .as_bytes(),
        );
    }

    fn answered(&mut self, input: &[u8]) -> Option<usize> {
        assert!(b"+OK\r\n".starts_with(&input[..input.len().min(5)]), "{}", String::from_utf8_lossy(input));
        (input.len() >= 5).then_some(5)
    }
}

/// `GET` of 200 bytes under one key.
pub struct Get;

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
        out.extend_from_slice(
            format!("*3\r\n$3\r\nSET\r\n$5\r\nprobe\r\n$200\r\n{}\r\n", "x".repeat(200)).as_bytes(),
        );
    }

    fn answered(&mut self, input: &[u8]) -> Option<usize> {
        (input.len() >= 5).then_some(5)
    }
}
