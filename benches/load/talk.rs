//! The lean client: keep-alive connections that each ask, wait for the whole answer, and ask again.

use std::cell::Cell;
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::LocalSet;

use crate::machine::cpu_time;

/// One side of a conversation over one connection.
pub trait Talk: 'static {
    /// Writes the next question.
    fn ask(&mut self, out: &mut Vec<u8>);

    /// How long the answer at the beginning of `input` is, once it is whole. Panics if it is not the right
    /// one.
    fn answered(&mut self, input: &[u8]) -> Option<usize>;
}

/// What a run came to.
pub struct Run<T> {
    /// Questions answered.
    pub count: usize,
    /// How long it took.
    pub wall_s: f64,
    /// What the server used of its core.
    pub cpu_s: f64,
    /// How long each answer took, sorted.
    pub latencies_us: Vec<f64>,
    /// The conversations, to be gone on with.
    pub talks: Vec<T>,
}

impl<T> Run<T> {
    /// The figures and the conversations, each alone.
    pub fn without_talks(self) -> (Run<()>, Vec<T>) {
        let Self { count, wall_s, cpu_s, latencies_us, talks } = self;
        (Run { count, wall_s, cpu_s, latencies_us, talks: vec![] }, talks)
    }

    pub fn per_second(&self) -> f64 {
        self.count as f64 / self.wall_s
    }

    pub fn per_cpu_second(&self) -> f64 {
        self.count as f64 / self.cpu_s
    }

    pub fn cpu_us(&self) -> f64 {
        self.cpu_s * 1e6 / self.count as f64
    }

    pub fn median_us(&self) -> f64 {
        self.percentile(50)
    }

    pub fn percentile(&self, percent: usize) -> f64 {
        self.latencies_us[(self.latencies_us.len() - 1) * percent / 100]
    }
}

/// One figure of each run.
pub fn each<T>(runs: &[Run<T>], figure: fn(&Run<T>) -> f64) -> Vec<f64> {
    runs.iter().map(figure).collect()
}

/// Asks `count` questions of the process `pid` at `port`, over one connection for each of `talks`. Connecting
/// is not measured.
pub fn run<T: Talk>(pid: u32, port: u16, talks: Vec<T>, count: usize) -> Run<T> {
    converse_all(pid, port, talks, count, None)
}

/// The same at a steady rate. An answer that comes after the next question was due delays that question, and
/// the delay counts as part of its latency.
pub fn paced<T: Talk>(pid: u32, port: u16, talks: Vec<T>, per_second: usize, count: usize) -> Run<T> {
    let every = Duration::from_secs_f64(talks.len() as f64 / per_second as f64);
    converse_all(pid, port, talks, count, Some(every))
}

fn converse_all<T: Talk>(
    pid: u32,
    port: u16,
    talks: Vec<T>,
    count: usize,
    every: Option<Duration>,
) -> Run<T> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    LocalSet::new().block_on(&runtime, async {
        let mut connections = vec![];
        for talk in talks {
            let stream = TcpStream::connect(("127.0.0.1", port)).await.expect("the server listens");
            stream.set_nodelay(true).expect("it is TCP");
            connections.push((stream, talk));
        }
        let left = std::rc::Rc::new(Cell::new(count));
        let (before, begun) = (cpu_time(pid), Instant::now());
        let connected = connections.len() as u32;
        let tasks: Vec<_> = (0..)
            .zip(connections)
            .map(|(number, (stream, talk))| {
                let due = every.map(|every| (begun + every * number / connected, every));
                tokio::task::spawn_local(converse(stream, talk, left.clone(), due))
            })
            .collect();
        let (mut talks, mut latencies_us) = (vec![], vec![]);
        for task in tasks {
            let (talk, latencies) = task.await.expect("a conversation does not fail");
            talks.push(talk);
            latencies_us.extend(latencies);
        }
        let (wall_s, cpu_s) = (begun.elapsed().as_secs_f64(), (cpu_time(pid) - before).as_secs_f64());
        latencies_us.sort_by(f64::total_cmp);
        Run { count, wall_s, cpu_s, latencies_us, talks }
    })
}

async fn converse<T: Talk>(
    mut stream: TcpStream,
    mut talk: T,
    left: std::rc::Rc<Cell<usize>>,
    mut due: Option<(Instant, Duration)>,
) -> (T, Vec<f64>) {
    let (mut question, mut answer, mut latencies) = (vec![], vec![0; 16 * 1024], vec![]);
    while let Some(rest) = left.get().checked_sub(1) {
        left.set(rest);
        question.clear();
        talk.ask(&mut question);
        let begun = match &mut due {
            Some((due, every)) => wait(std::mem::replace(due, *due + *every)).await,
            None => Instant::now(),
        };
        stream.write_all(&question).await.expect("the server reads");
        let mut filled = 0;
        loop {
            let read = stream.read(&mut answer[filled..]).await.expect("the server writes");
            assert!(read > 0, "the server hung up: {}", String::from_utf8_lossy(&answer[..filled]));
            filled += read;
            if filled == answer.len() {
                answer.resize(2 * filled, 0);
            }
            if let Some(length) = talk.answered(&answer[..filled]) {
                assert_eq!(length, filled, "an answer without a request follows");
                break;
            }
        }
        latencies.push(begun.elapsed().as_secs_f64() * 1e6);
    }
    (talk, latencies)
}

/// Waits until `due`; when the question counts as asked. A timer that is late by up to a millisecond does not
/// count as latency.
async fn wait(due: Instant) -> Instant {
    if due <= Instant::now() {
        return due;
    }
    tokio::time::sleep_until(due.into()).await;
    Instant::now()
}

/// The status, the body and the whole length of an HTTP answer, once it is there.
pub fn http(input: &[u8]) -> Option<(&[u8], &[u8], usize)> {
    let head = input.windows(4).position(|window| window == b"\r\n\r\n")? + 4;
    let name = b"content-length: ";
    let at = input[..head]
        .windows(name.len())
        .position(|window| window.eq_ignore_ascii_case(name))
        .expect("answers have a length")
        + name.len();
    let digits = input[at..].iter().take_while(|byte| byte.is_ascii_digit());
    let length = digits.fold(0, |number, digit| number * 10 + usize::from(digit - b'0'));
    (input.len() >= head + length).then(|| (&input[9..12], &input[head..head + length], head + length))
}

/// A form as it is sent.
pub fn post(path: &str, authorization: &str, body: &str) -> Vec<u8> {
    request("POST", path, authorization, "application/x-www-form-urlencoded", body)
}

/// A request as it is sent.
pub fn request(method: &str, path: &str, authorization: &str, kind: &str, body: &str) -> Vec<u8> {
    let authorization = match authorization {
        "" => String::new(),
        credentials => format!("Authorization: {credentials}\r\n"),
    };
    format!(
        "{method} {path} HTTP/1.1\r\nHost: localhost\r\n{authorization}Content-Type: {kind}\r\n\
         Content-Length: {}\r\n\r\n{body}",
        body.len()
    )
    .into_bytes()
}
