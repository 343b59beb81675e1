//! `keyfob dev`: a server for a command, its end, its signals, its clients, and its clock.

use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Stdio};
use std::thread::sleep;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use tempfile::{TempDir, tempdir};

use crate::harness::process::{Process, exchange, keyfob, run};
use crate::harness::server::{Answer, Client, text};

/// A running `keyfob dev`. Killed when dropped.
struct Dev {
    child: Child,
    input: Option<ChildStdin>,
    output: BufReader<ChildStdout>,
    address: String,
    client: Client,
}

impl Dev {
    /// Runs a shell script, which first prints the environment that it got.
    fn start(directory: &Path, options: &[&str], script: &str) -> Self {
        let script = format!(r#"echo "$KEYFOB_URL $KEYFOB_CLIENT_ID $KEYFOB_CLIENT_SECRET"; {script}"#);
        let mut child = keyfob(directory, &[&["dev"], options, &["--", "sh", "-c", &script]].concat())
            .env("KEYFOB_SERVER__LISTEN", "not read")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut output = BufReader::new(child.stdout.take().unwrap());
        let mut line = String::new();
        if output.read_line(&mut line).unwrap() == 0 {
            child.stderr.take().unwrap().read_to_string(&mut line).unwrap();
        }
        let words: Vec<_> = line.trim_end_matches('\n').split(' ').collect();
        let [url, id, secret] = words[..] else { panic!("{line}") };
        let address = url.strip_prefix("http://").unwrap_or_else(|| panic!("{line}")).to_owned();
        let client = Client { id: id.into(), secret: secret.into() };
        Self { input: child.stdin.take(), child, output, address, client }
    }

    /// The same until its input is closed.
    fn until_closed(directory: &Path, options: &[&str]) -> Self {
        Self::start(directory, options, "cat > /dev/null")
    }

    fn send(&self, method: &str, path: &str, content_type: &str, body: &str) -> Answer {
        let mut stream = TcpStream::connect(&self.address).unwrap();
        exchange(&mut stream, method, path, Some(&self.client), content_type, body).unwrap()
    }

    fn open(&self, subject: &str) -> Value {
        let body = json!({ "subject": subject }).to_string();
        let answer = self.send("POST", "/v1/sessions", "application/json", &body);
        assert_eq!(answer.status, 201, "{answer:?}");
        answer.json()
    }

    fn is_active(&self, token: &Value) -> bool {
        let form = format!("token={}", text(token));
        self.send("POST", "/oauth2/introspect", "application/x-www-form-urlencoded", &form).json()["active"]
            == true
    }

    fn signal(&self, signal: Signal) {
        kill_process(Pid::from_raw(i32::try_from(self.child.id()).unwrap()).unwrap(), signal).unwrap();
    }

    fn next_line(&mut self) -> String {
        let mut line = String::new();
        self.output.read_line(&mut line).unwrap();
        line
    }

    /// Closes its input, and waits. Its exit code, the rest of its output, and its standard error.
    fn end(mut self) -> (i32, String, String) {
        drop(self.input.take());
        let (mut output, mut error) = (String::new(), String::new());
        self.output.read_to_string(&mut output).unwrap();
        self.child.stderr.take().unwrap().read_to_string(&mut error).unwrap();
        let code = self.child.wait().unwrap().code().unwrap();
        assert!(TcpStream::connect(&self.address).is_err(), "the server ended, too");
        (code, output, error)
    }
}

impl Drop for Dev {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The one line of a `keyfob dev` that starts no command.
fn refused(directory: &Path, options: &[&str]) -> String {
    let output = run(directory, &[&["dev"], options, &["--", "touch", "ran"]].concat());
    let error = String::from_utf8(output.stderr).unwrap();
    assert_eq!((output.status.code(), error.lines().count()), (Some(1), 1), "{error}");
    assert!(!directory.join("ran").exists());
    error
}

fn with(name: &str, content: &str) -> TempDir {
    let directory = tempdir().unwrap();
    fs::write(directory.path().join(name), content).unwrap();
    directory
}

#[test]
fn a_command_gets_a_server_and_its_credentials() {
    // A file of an installation in the same directory is not read.
    let directory = with("config.toml", "[nonsense]\n");
    let dev = Dev::until_closed(directory.path(), &[]);
    assert_eq!(dev.client.id, "dev");
    let opened = dev.open("alice");
    assert!(dev.is_active(&opened["access_token"]));
    let refresh = format!("grant_type=refresh_token&refresh_token={}", text(&opened["refresh_token"]));
    let form = "application/x-www-form-urlencoded";
    assert_eq!(dev.send("POST", "/oauth2/token", form, &refresh).status, 200);
    let metadata = dev.send("GET", "/.well-known/oauth-authorization-server", "", "").json();
    assert_eq!(metadata["issuer"], format!("http://{}", dev.address));
    let store = directory.path().join(".keyfob");
    assert_eq!(fs::read_to_string(store.join(".gitignore")).unwrap(), "*\n");
    for file in fs::read_dir(&store).unwrap().map(|entry| entry.unwrap().path()).filter(|path| path.is_file())
    {
        let content = fs::read(&file).unwrap();
        let has = content.windows(dev.client.secret.len()).any(|part| part == dev.client.secret.as_bytes());
        assert!(!has, "{} has the secret", file.display());
    }
    let second = refused(directory.path(), &[]);
    assert!(second.contains("in use by another keyfob") && second.contains("--memory"), "{second}");
    let secret = dev.client.secret.clone();
    let (code, output, error) = dev.end();
    assert_eq!((code, &*output), (0, ""));
    assert!(error.starts_with("keyfob dev: http://127.0.0.1:") && error.lines().count() == 1, "{error}");

    let dev = Dev::until_closed(directory.path(), &[]);
    assert_ne!(dev.client.secret, secret, "it is new at each start");
    assert!(dev.is_active(&opened["session_token"]), "the store is the same");
    assert_eq!(dev.end().0, 0);
}

#[test]
fn it_ends_with_the_command_and_with_its_exit_code() {
    let directory = tempdir().unwrap();
    for (script, code) in [("exit 0", 0), ("exit 7", 7), ("kill -KILL $$", 137), ("kill -TERM $$", 143)] {
        assert_eq!(Dev::start(directory.path(), &["--memory"], script).end().0, code, "{script}");
    }
    for (program, code) in [("/no/such/program", 127), ("/etc/passwd", 126)] {
        let output = run(directory.path(), &["dev", "--memory", "--", program]);
        let error = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(code), "{error}");
        assert!(error.contains(&format!("{program} cannot be started")), "{error}");
    }
    assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 0, "--memory writes no file");
}

/// A wrapper that ends at SIGTERM leaves its command behind, or ends the server before it.
#[test]
fn signals_reach_the_command_and_the_server_waits_for_its_end() {
    let directory = tempdir().unwrap();
    let script =
        "trap 'echo stop; cat > /dev/null; exit 9' HUP INT TERM; echo ready; while :; do sleep 0.02; done";
    for signal in [Signal::HUP, Signal::INT, Signal::TERM] {
        let mut dev = Dev::start(directory.path(), &["--memory"], script);
        assert_eq!(dev.next_line(), "ready\n");
        dev.signal(signal);
        assert_eq!(dev.next_line(), "stop\n");
        dev.open("alice");
        let (code, output, _) = dev.end();
        assert_eq!((code, &*output), (9, ""), "one signal");
    }
}

/// An earlier wrapper, in Python, left the server behind when it was killed.
#[test]
fn when_it_is_killed_the_server_is_gone_and_the_command_gets_a_signal() {
    let directory = tempdir().unwrap();
    let script = "trap 'touch stopped; exit' TERM; echo ready; while :; do sleep 0.02; done";
    let mut dev = Dev::start(directory.path(), &[], script);
    assert_eq!(dev.next_line(), "ready\n");
    dev.signal(Signal::KILL);
    dev.child.wait().unwrap();
    assert!(TcpStream::connect(&dev.address).is_err());
    let stopped = directory.path().join("stopped");
    let was_told = (0..500).any(|_| {
        sleep(Duration::from_millis(10));
        stopped.exists()
    });
    assert!(was_told || cfg!(not(target_os = "linux")));
    Dev::until_closed(directory.path(), &[]).open("alice");
}

const PYPROJECT: &str = r#"
[project]
name = "shop"
[[tool.keyfob.client]]
client_id = "web"
permissions = ["sessions", "introspect", "events"]
grants = ["refresh_token"]
scopes = ["orders"]
opens_for = ["phone"]
[[tool.keyfob.client]]
client_id = "worker"
permissions = ["introspect"]
[[tool.keyfob.client]]
client_id = "phone"
kind = "public"
grants = ["refresh_token"]
"#;

#[test]
fn clients_come_from_a_file() {
    let directory = with("pyproject.toml", PYPROJECT);
    let options = ["--memory", "--clients", "pyproject.toml"];
    let dev = Dev::until_closed(directory.path(), &options);
    assert_eq!((&*dev.client.id, &dev.open("alice")["scope"]), ("web", &json!("orders")));
    let worker = Client { id: "worker".into(), secret: dev.client.secret.clone() };
    let mut stream = TcpStream::connect(&dev.address).unwrap();
    let form = "application/x-www-form-urlencoded";
    let answer = exchange(&mut stream, "POST", "/oauth2/introspect", Some(&worker), form, "token=x").unwrap();
    assert_eq!(answer.json(), json!({ "active": false }), "clients without a secret have the same one");
    assert_eq!(dev.end().0, 0);
    let named = |id| Dev::until_closed(directory.path(), &[&options[..], &["--client", id]].concat());
    assert_eq!(named("worker").client.id, "worker");
    let phone = named("phone").client.clone();
    assert_eq!((&*phone.id, &*phone.secret), ("phone", ""), "a public client has no secret");
    let unknown = refused(directory.path(), &[&options[..], &["--client", "wbe"]].concat());
    assert!(unknown.contains("web, worker, phone"), "{unknown}");

    let hash = "0".repeat(64);
    let own = with(
        "clients.toml",
        &format!(
            "[[client]]\nclient_id = \"web\"\nsecret_sha256 = \"{hash}\"\npermissions = [\"sessions\"]\n"
        ),
    );
    Dev::until_closed(own.path(), &["--memory", "--clients", "clients.toml"]).open("alice");
    fs::write(own.path().join("clients.toml"), "[[clients]]\n").unwrap();
    for (options, why) in [
        (["--clients", "clients.toml"], "[[tool.keyfob.client]]"),
        (["--clients", "none.toml"], "there is no such configuration file"),
        (["--client", "web"], "--client names one of: dev"),
    ] {
        let error = refused(own.path(), &options);
        assert!(error.contains(why), "{error}");
    }
}

#[test]
fn only_a_given_configuration_is_read_and_nothing_of_its_installation() {
    let directory = with(
        "shop.toml",
        "[server]\nlisten = \"127.0.0.1:1\"\nissuer = \"https://id.example.com\"\nadmin_socket = \
         \"other.sock\"\n\
         [server.tls]\ncert = \"none.pem\"\nkey = \"none.pem\"\n[store]\npath = \"live/keyfob.redb\"\n\
         [keys]\nmaster_key_env = \"NONE\"\n[[client]]\nclient_id = \"live\"\nsecret_file = \"none\"\n\
         [policy.default]\nabsolute_lifetime = \"1h\"\n",
    );
    let dev = Dev::until_closed(directory.path(), &["--config", "shop.toml"]);
    let session = &dev.open("alice")["session"];
    let hour = |text: &Value| text.as_str().unwrap()[11..13].parse::<u32>().unwrap();
    assert_eq!((hour(&session["expires_at"]) + 24 - hour(&session["authenticated_at"])) % 24, 1, "{session}");
    let metadata = dev.send("GET", "/.well-known/oauth-authorization-server", "", "").json();
    assert_eq!((&*dev.client.id, &metadata["issuer"]), ("dev", &json!(format!("http://{}", dev.address))));
    assert_eq!(dev.end().0, 0);
    let mut names: Vec<_> =
        fs::read_dir(directory.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    names.sort();
    assert_eq!(names, [".keyfob", "shop.toml"]);
    assert!(
        refused(directory.path(), &["--config", "none.toml"]).contains("there is no such configuration file")
    );
}

#[test]
fn the_clock_moves_forward_for_the_client_of_the_environment() {
    let directory = with("clients.toml", &PYPROJECT.replace("tool.keyfob.", ""));
    let dev = Dev::until_closed(directory.path(), &["--clock", "--clients", "clients.toml"]);
    let advance = |by: &str| dev.send("POST", "/dev/clock", "application/json", by);
    let opened = dev.open("alice");
    let minute = |answer: &Answer| answer.json()["now"].as_str().unwrap()[14..16].parse::<i32>().unwrap();
    let first = advance(r#"{"advance":"1ms"}"#);
    assert_eq!(first.status, 200, "{first:?}");
    let later = advance(r#"{"advance":"29m"}"#);
    assert_eq!((minute(&later) + 60 - minute(&first)) % 60, 29);
    assert_eq!(
        later.headers["date"].to_str().unwrap()[20..22].parse(),
        Ok(minute(&later)),
        "answers have its time"
    );
    assert!(dev.is_active(&opened["session_token"]) && !dev.is_active(&opened["access_token"]));
    assert_eq!(advance(r#"{"advance":"2m"}"#).status, 200);
    let events = dev.send("GET", "/v1/events", "", "").text();
    assert!(events.contains("session.expired"), "what is due has been done: {events}");
    assert!(!dev.is_active(&opened["session_token"]), "30 minutes without a use have passed");

    let origin = "application/json\r\nOrigin: http://127.0.0.1";
    assert_eq!(dev.send("POST", "/dev/clock", origin, r#"{"advance":"1s"}"#).status, 403);
    for wrong in [r#"{"advance":"-1m"}"#, r#"{"advance":"0s"}"#, r#"{"advance":1}"#, r#"{"back":"1s"}"#, ""] {
        assert_eq!(advance(wrong).status, 400, "{wrong}");
    }
    let as_client = |id: &str, secret: &str| {
        let client = Client { id: id.into(), secret: secret.into() };
        let mut stream = TcpStream::connect(&dev.address).unwrap();
        let body = r#"{"advance":"1s"}"#;
        exchange(&mut stream, "POST", "/dev/clock", Some(&client), "application/json", body).unwrap().status
    };
    assert_eq!(as_client("web", "kfc_wrong"), 401);
    assert_eq!(as_client("worker", &dev.client.secret), 403);
    assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1, "--clock implies --memory");
    let public = refused(directory.path(), &["--clock", "--clients", "clients.toml", "--client", "phone"]);
    assert!(public.contains("phone is public"), "{public}");
}

#[test]
fn no_other_command_serves_the_clock() {
    let directory = tempdir().unwrap();
    let dev = Dev::until_closed(directory.path(), &["--memory"]);
    let advance = r#"{"advance":"1s"}"#;
    assert_eq!(dev.send("POST", "/dev/clock", "application/json", advance).status, 404);
    let server = Process::start(directory.path());
    let body: Value = serde_json::from_str(advance).unwrap();
    assert_eq!(server.json("POST", "/dev/clock", None, &body).status, 404);
}

/// Only `keyfob dev` starts it, and it starts nothing by itself.
#[test]
fn the_hidden_command_runs_nothing_for_another_parent() {
    let directory = tempdir().unwrap();
    let output = run(directory.path(), &["dev-exec", "1", "--", "touch", "ran"]);
    assert_eq!((output.status.code(), directory.path().join("ran").exists()), (Some(1), false));
}
