//! Properties of every command: exit codes, one line for an error, tables that fit the terminal, closed
//! pipes, manual pages.

use std::fs::{File, Permissions};
use std::io::{Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};

use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{Winsize, tcsetwinsize};
use tempfile::TempDir;

use crate::harness::process::{keyfob, program_in, run};

/// Every command with valid arguments, and its exit code without a store.
const COMMANDS: &[(&str, i32)] = &[
    ("serve --listen nowhere", 1),
    ("init --config nowhere.toml", 1),
    ("config check", 0),
    ("config show", 0),
    ("config reference", 0),
    ("client create app", 1),
    ("client list", 1),
    ("client show app", 1),
    ("client update app --disable", 1),
    ("client rotate-secret app", 1),
    ("client revoke-tokens app", 1),
    ("client delete app", 1),
    ("console", 1),
    ("policy simulate --idle-timeout 10m", 1),
    ("session create --subject alice --client-id app", 1),
    ("session list", 1),
    ("session show 0", 1),
    ("session revoke 0", 1),
    ("subject revoke alice", 1),
    ("token introspect x", 1),
    ("token revoke x", 1),
    ("token decode x", 1),
    ("key list", 1),
    ("key rotate", 1),
    ("key revoke x", 1),
    ("events tail", 1),
    ("db check", 1),
    ("db stats", 1),
    ("db backup nowhere/copy.backup", 1),
    ("db restore nowhere/copy.backup", 1),
    ("db move --to postgres://localhost/keyfob", 1),
    ("db recovered", 1),
    ("dev --clients nowhere.toml -- true", 1),
    ("dev-exec 1 -- true", 1),
    ("openapi", 0),
    ("ready", 1),
    ("completions bash", 0),
    ("man nowhere", 1),
];

/// The names of all commands without subcommands, such as `client create`.
fn leaves(command: &clap::Command, before: &str) -> Vec<String> {
    let below: Vec<_> = command
        .get_subcommands()
        .flat_map(|sub| leaves(sub, &format!("{before} {}", sub.get_name())))
        .collect();
    if below.is_empty() { vec![before.trim_start().to_owned()] } else { below }
}

fn words(line: &str) -> Vec<&str> {
    line.split(' ').collect()
}

fn initialised() -> TempDir {
    let directory = TempDir::new().unwrap();
    assert!(run(directory.path(), &["init"]).status.success());
    directory
}

#[test]
fn every_command_is_among_those_tried_here() {
    for leaf in leaves(&keyfob::cli::command(), "") {
        assert!(
            COMMANDS.iter().any(|(line, _)| *line == leaf || line.starts_with(&format!("{leaf} "))),
            "{leaf} is not tried"
        );
    }
}

#[test]
fn invalid_usage_of_any_command_is_2_and_shows_the_usage() {
    let directory = TempDir::new().unwrap();
    for leaf in leaves(&keyfob::cli::command(), "") {
        let output = run(directory.path(), &[&words(&leaf)[..], &["--no-such-option"]].concat());
        let error = String::from_utf8(output.stderr).unwrap();
        assert_eq!((output.status.code(), output.stdout.len()), (Some(2), 0), "{leaf}: {error}");
        assert!(error.contains("--no-such-option") && error.contains("Usage: keyfob"), "{leaf}: {error}");
    }
    assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 0, "nothing was made");
}

#[test]
fn an_error_is_1_with_one_line_on_standard_error_and_nothing_else() {
    let directory = TempDir::new().unwrap();
    for (line, code) in COMMANDS {
        for json in [&[][..], &["--json"]] {
            let output = run(directory.path(), &[json, &words(line)].concat());
            let error = String::from_utf8(output.stderr).unwrap();
            assert_eq!(output.status.code(), Some(*code), "{line}: {error}");
            if *code == 1 {
                assert!(output.stdout.is_empty(), "{line}");
                assert!(
                    error.starts_with("keyfob: ") && error.lines().count() == 1 && error.len() > 30,
                    "{line}: {error}"
                );
            } else {
                assert!(error.is_empty() && !output.stdout.is_empty(), "{line}: {error}");
            }
        }
    }
    assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 0, "nothing was made");
}

/// As in `keyfob client list | head -0`: no message.
#[test]
fn a_closed_pipe_ends_a_command_without_a_message() {
    let directory = initialised();
    for line in [
        "client list",
        "--json client list",
        "session list",
        "events tail",
        "openapi",
        "config show",
        "config reference",
        "--help",
    ] {
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let output = keyfob(directory.path(), &words(line))
            .stdout(writer)
            .stderr(Stdio::piped())
            .spawn()
            .unwrap()
            .wait_with_output()
            .unwrap();
        assert_eq!(
            (output.status.code(), String::from_utf8_lossy(&output.stderr).as_ref()),
            (Some(0), ""),
            "{line}"
        );
    }
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    assert_eq!(
        keyfob(directory.path(), &["session", "show", "x"]).stderr(writer).status().unwrap().code(),
        Some(1),
        "no panic either"
    );
}

/// A full disk is a failure, other than a closed pipe.
#[test]
fn output_that_cannot_be_written_is_a_failure_and_a_lost_secret_says_what_to_do() {
    let directory = initialised();
    assert!(run(directory.path(), &["client", "create", "app"]).status.success());
    let full = |line: &str| {
        let full = File::options().write(true).open("/dev/full").unwrap();
        let output = keyfob(directory.path(), &words(line))
            .stdout(full)
            .stderr(Stdio::piped())
            .spawn()
            .unwrap()
            .wait_with_output()
            .unwrap();
        let error = String::from_utf8(output.stderr).unwrap();
        assert_eq!((output.status.code(), error.lines().count()), (Some(1), 1), "{line}: {error}");
        error
    };
    for line in [
        "client list",
        "client show app",
        "session list",
        "--json session list",
        "key list",
        "events tail",
        "--json events tail",
    ] {
        assert!(full(line).starts_with("keyfob: standard output cannot be written: No space"), "{line}");
    }
    for line in [
        "openapi",
        "config check",
        "config show",
        "config reference",
        "completions bash",
        "db stats",
        "db check",
        "init",
    ] {
        assert!(full(line).contains("standard output"), "{line}");
    }
    for line in ["client create secret", "client rotate-secret secret", "--json client rotate-secret secret"]
    {
        let error = full(line);
        assert!(
            error.contains("secret that could not be shown")
                && error.contains("`keyfob client rotate-secret secret`"),
            "{error}"
        );
    }
    assert!(full("session create --subject alice --client-id app").contains("`keyfob session revoke 0"));
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let closed =
        keyfob(directory.path(), &["client", "rotate-secret", "app"]).stdout(writer).output().unwrap();
    assert_eq!(closed.status.code(), Some(1), "a closed pipe has lost the secret too");
}

/// What a command prints on a terminal of so many columns.
fn on_terminal(directory: &Path, arguments: &[&str], columns: u16, environment: &[(&str, &str)]) -> String {
    let terminal = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
    grantpt(&terminal).unwrap();
    unlockpt(&terminal).unwrap();
    let name = ptsname(&terminal, vec![]).unwrap();
    let side = File::options().read(true).write(true).open(name.to_str().unwrap()).unwrap();
    tcsetwinsize(&side, Winsize { ws_col: columns, ws_row: 24, ws_xpixel: 0, ws_ypixel: 0 }).unwrap();
    let mut command = keyfob(directory, arguments);
    command
        .envs(environment.iter().copied())
        .env("TERM", "xterm")
        .stdout(side.try_clone().unwrap())
        .stderr(side);
    let mut child = command.spawn().unwrap();
    drop(command);
    let mut printed = vec![];
    // When the last of the other side is closed, Linux answers EIO.
    let _ = File::from(terminal).read_to_end(&mut printed);
    child.wait().unwrap();
    String::from_utf8(printed).unwrap().replace("\r\n", "\n")
}

#[test]
fn a_table_fits_the_terminal_and_is_not_folded_in_a_pipe() {
    let directory = initialised();
    for number in 0..3 {
        let id = format!("a-client-with-quite-a-long-name-{number}");
        let permissions = "sessions,introspect,introspect:any,events,metrics";
        assert!(
            run(directory.path(), &["client", "create", &id, "--permission", permissions]).status.success()
        );
        assert!(
            run(directory.path(), &["session", "create", "--subject", "alice", "--client-id", &id])
                .status
                .success()
        );
    }
    for line in ["client list", "session list", "key list"] {
        let piped = String::from_utf8(run(directory.path(), &words(line)).stdout).unwrap();
        assert!(piped.lines().any(|line| line.chars().count() > 80), "{piped}");
        assert!(!piped.contains("\n    "), "a row is a line in a pipe: {piped}");
        let shown = on_terminal(directory.path(), &words(line), 80, &[]);
        assert!(shown.lines().all(|line| line.chars().count() <= 80), "{shown}");
        // Names and states; times move between the two.
        for word in piped
            .split_whitespace()
            .filter(|word| word.len() > 3 && !word.contains(['(', ')']) && !word.ends_with('Z'))
        {
            assert!(shown.contains(word), "{word} is missing: {shown}");
        }
        let wide = on_terminal(directory.path(), &words(line), 500, &[]);
        assert_eq!(wide.lines().count(), piped.lines().count(), "{wide}");
    }
}

#[test]
fn an_event_is_folded_on_a_terminal_and_a_line_in_a_pipe() {
    let directory = initialised();
    let subject = "user-with-quite-a-long-name@somewhere-with-quite-a-long-name.example.com";
    assert!(
        run(directory.path(), &["session", "create", "--subject", subject, "--client-id", "admin"])
            .status
            .success()
    );
    let piped = String::from_utf8(run(directory.path(), &["events", "tail"]).stdout).unwrap();
    assert_eq!(piped.lines().count(), 2, "{piped}");
    let shown = on_terminal(directory.path(), &["events", "tail"], 80, &[]);
    assert!(shown.lines().count() > 4 && shown.lines().all(|line| line.chars().count() <= 80), "{shown}");
    assert!(shown.replace("\n    ", "").contains(subject), "{shown}");
    assert!(shown.lines().any(|line| line.ends_with("session.opened   by admin.sock")), "{shown}");
}

#[test]
fn no_color_turns_colours_off_on_a_terminal() {
    let directory = TempDir::new().unwrap();
    let help = |environment: &[(&str, &str)]| on_terminal(directory.path(), &["--help"], 80, environment);
    assert!(help(&[]).contains('\u{1b}'));
    assert!(!help(&[("NO_COLOR", "1")]).contains('\u{1b}'));
    assert!(!String::from_utf8(run(directory.path(), &["--help"]).stdout).unwrap().contains('\u{1b}'));
}

#[test]
fn there_is_a_manual_page_for_every_command_that_is_not_hidden() {
    let directory = TempDir::new().unwrap();
    assert!(run(directory.path(), &["man", "."]).status.success());
    for leaf in
        leaves(&keyfob::cli::command(), "").iter().filter(|leaf| !["man", "dev-exec"].contains(&&***leaf))
    {
        let page =
            std::fs::read_to_string(directory.path().join(format!("keyfob-{}.1", leaf.replace(' ', "-"))))
                .unwrap();
        assert!(page.contains(".SH NAME") && page.contains(".SH SYNOPSIS"), "{leaf}: {page}");
    }
    let page = std::fs::read_to_string(directory.path().join("keyfob.1")).unwrap();
    assert!(page.contains("log alice out everywhere") && !page.contains("manual pages"), "{page}");
}

#[test]
fn readiness_is_that_of_the_server_and_never_of_the_command() {
    let directory = initialised();
    let refused = String::from_utf8(run(directory.path(), &["ready"]).stderr).unwrap();
    assert!(
        refused.contains("no server answers at data/admin.sock") && refused.contains("keyfob serve"),
        "{refused}"
    );
    let server = crate::harness::process::Process::start(directory.path());
    let ready = run(directory.path(), &["ready"]);
    assert_eq!((ready.status.code(), ready.stdout.as_slice()), (Some(0), &b"the server is ready\n"[..]));
    server.signal(rustix::process::Signal::STOP);
    let hangs = run(directory.path(), &["ready"]);
    assert_eq!(hangs.status.code(), Some(1));
    assert!(String::from_utf8(hangs.stderr).unwrap().contains("did not answer within 3 s"));
    server.kill();
    assert_eq!(
        run(directory.path(), &["ready"]).status.code(),
        Some(1),
        "the socket that it left behind is no server"
    );
}

/// Root may use any socket, so root switches to another user for this test.
#[test]
fn the_error_names_who_has_access_to_the_socket() {
    let directory = initialised();
    let program = program_in(directory.path());
    let mode = |path: &Path, mode| std::fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
    mode(directory.path(), 0o755);
    mode(&directory.path().join("data"), 0o000);
    for line in ["client list", "ready", "db check", "db stats"] {
        let mut command = Command::new(&program);
        command.args(words(line)).env_clear().current_dir(directory.path()).stdin(Stdio::null());
        if rustix::process::geteuid().is_root() {
            command.uid(65_534).gid(65_534);
        }
        let error = String::from_utf8(command.output().unwrap().stderr).unwrap();
        assert!(
            error.contains("only the owner of data may use it") && error.contains("sudo keyfob"),
            "{line}: {error}"
        );
    }
    mode(&directory.path().join("data"), 0o700);
}

/// A fake server that starts to answer and closes the connection: a real one cannot be stopped at that
/// moment.
#[test]
fn after_a_lost_connection_the_operation_may_have_completed() {
    let directory = initialised();
    let listener = std::os::unix::net::UnixListener::bind(directory.path().join("data/admin.sock")).unwrap();
    for begun in ["", "HTTP/1.1 200 OK\r\n", "HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\n{"] {
        let child = keyfob(directory.path(), &["key", "rotate"]).stderr(Stdio::piped()).spawn().unwrap();
        let (mut stream, _) = listener.accept().unwrap();
        let mut request = [0; 1024];
        assert!(stream.read(&mut request).unwrap() > 0);
        stream.write_all(begun.as_bytes()).unwrap();
        drop(stream);
        let output = child.wait_with_output().unwrap();
        let error = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(1));
        assert!(
            error.contains("the connection to the server was lost before it answered")
                && error.contains("may have completed"),
            "{begun:?}: {error}"
        );
    }
}
