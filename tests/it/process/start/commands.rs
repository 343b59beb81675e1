//! The administration commands: through the admin socket while a server runs, else in their own process.

use super::*;

fn printed(directory: &Path, arguments: &[&str]) -> String {
    let output = run(directory, arguments);
    assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

fn json_of(directory: &Path, arguments: &[&str]) -> Value {
    let text = printed(directory, &[&["--json"], arguments].concat());
    serde_json::from_str(&text).unwrap_or_else(|_| panic!("not JSON: {text}"))
}

/// Creates, changes and deletes clients.
fn clients_are_administered(directory: &Path) {
    let made = [
        "client",
        "create",
        "backend",
        "--permission",
        "sessions,introspect",
        "--grant",
        "refresh_token",
        "--scope",
        "read,write",
    ];
    let created = json_of(directory, &made);
    assert_eq!((&created["client_id"], &created["scopes"]), (&json!("backend"), &json!(["read", "write"])));
    let secret = created["client_secret"].as_str().unwrap();
    assert!(secret.starts_with("kfc_") && secret.len() == 47);
    let listed = json_of(directory, &["client", "list"]);
    let listed: Vec<_> =
        listed.as_array().unwrap().iter().map(|client| client["client_id"].as_str().unwrap()).collect();
    assert_eq!(listed, ["admin", "backend"]);
    let shown = json_of(directory, &["client", "show", "backend"]);
    assert_eq!(
        (&shown["permissions"], shown.get("client_secret")),
        (&json!(["sessions", "introspect"]), None)
    );
    let updated = json_of(directory, &["client", "update", "backend", "--scope", "read", "--disable"]);
    assert_eq!(
        (&updated["scopes"], &updated["disabled"], &updated["grants"]),
        (&json!(["read"]), &json!(true), &json!(["refresh_token"]))
    );
    assert_eq!(json_of(directory, &["client", "update", "backend", "--enable"])["disabled"], false);
    let rotated = json_of(directory, &["client", "rotate-secret", "backend", "--keep-old-for", "1h"]);
    assert!(rotated["client_secret"].is_string() && rotated["client_secret"] != created["client_secret"]);
    assert_eq!(json_of(directory, &["client", "revoke-tokens", "backend"])["revoked"], "backend");
    let table = printed(directory, &["client", "list"]);
    assert!(
        table.starts_with("CLIENT") && table.contains("backend") && table.contains("sessions introspect"),
        "{table}"
    );
    let human = printed(directory, &["client", "create", "app", "--public"]);
    assert!(human.contains("public") && !human.contains("kfc_"), "{human}");
    for id in ["app", "backend"] {
        printed(directory, &["client", "delete", id]);
        let error = refused(directory, &["client", "show", id]);
        assert_eq!(error.lines().count(), 1, "one clear line: {error}");
    }
    let error = refused(directory, &["client", "create", "not a name"]);
    assert!(error.contains("client_id"), "{error}");
}

/// The three lines are what `docker run --env-file` and python-dotenv read, so nothing else is printed.
#[test]
fn a_new_client_is_printed_as_the_three_lines_of_an_env_file() {
    let directory = tempdir().unwrap();
    let (server, issuer) = super::on_a_chosen_port(directory.path(), &[], "try it");
    let lines = printed(directory.path(), &["client", "create", "web", "--permission", "sessions", "--env"]);
    let pairs: Vec<_> = lines.lines().map(|line| line.split_once('=').unwrap()).collect();
    let [("KEYFOB_URL", url), ("KEYFOB_CLIENT_ID", id), ("KEYFOB_CLIENT_SECRET", secret)] = pairs[..] else {
        panic!("{lines}")
    };
    assert_eq!((url, id), (&*issuer, "web"));
    get(&server, "/v1/sessions", Some(&Client { id: id.into(), secret: secret.into() }));
    assert_eq!(server.stop(), 0);
    let port = ["client", "create", "late", "--env"];
    let mut create = keyfob(directory.path(), &port);
    create.env("KEYFOB_SERVER__LISTEN", "127.0.0.1:0");
    let error = refused_by(create, 1);
    assert!(error.contains("start it first"), "{error}");
    refused(directory.path(), &["client", "show", "late"]);
    refused_by(keyfob(directory.path(), &["client", "create", "--public", "--env"]), 2);
}

/// A mobile client without an audience got tokens that no service could introspect, and nothing said why.
#[test]
fn creating_a_public_client_without_an_audience_says_what_that_means() {
    let directory = initialised();
    let create = ["client", "create", "--public", "--grant", "refresh_token"];
    let said = printed(directory.path(), &[&create[..], &["phone"]].concat());
    for words in ["for keyfob itself", "keyfob client update phone --audience", "--serves"] {
        assert!(said.contains(words), "{words} in {said}");
    }
    let audience = ["tablet", "--audience", "https://api.example.com"];
    let said = printed(directory.path(), &[&create[..], &audience].concat());
    assert!(!said.contains("for keyfob itself"), "{said}");
}

#[test]
fn clients_are_administered_while_a_server_runs() {
    let directory = tempdir().unwrap();
    let server = Process::start(directory.path());
    clients_are_administered(directory.path());
    assert_eq!(
        get(&server, "/v1/clients", Some(&admin(directory.path())))["items"].as_array().unwrap().len(),
        1
    );
    assert_eq!(server.stop(), 0);
}

#[test]
fn clients_are_administered_while_none_runs() {
    let directory = initialised();
    clients_are_administered(directory.path());
    let created = json_of(directory.path(), &["client", "create", "kept", "--permission", "sessions"]);
    let server = Process::start(directory.path());
    let kept = Client { id: "kept".into(), secret: created["client_secret"].as_str().unwrap().into() };
    get(&server, "/v1/sessions", Some(&kept));
}

#[test]
fn commands_that_meet_at_the_store_take_turns() {
    let directory = initialised();
    let create = |number: usize| {
        keyfob(directory.path(), &["client", "create", &format!("c{number}")])
            .stderr(Stdio::piped())
            .spawn()
            .unwrap()
    };
    let running: Vec<_> = (0..6).map(create).collect();
    for command in running {
        let output = command.wait_with_output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }
    assert_eq!(json_of(directory.path(), &["client", "list"]).as_array().unwrap().len(), 7);
}

/// Whether a process has a file open, by its name.
fn has_open(process: u32, name: &str) -> bool {
    let files = fs::read_dir(format!("/proc/{process}/fd")).unwrap();
    files.flatten().any(|file| fs::read_link(file.path()).is_ok_and(|path| path.ends_with(name)))
}

/// As a start does that comes in the middle of `keyfob db stats`.
#[test]
fn a_start_waits_for_a_command_and_a_command_for_a_server_that_starts() {
    let directory = initialised();
    let lock = fs::File::options().write(true).open(data(directory.path(), "keyfob.pid")).unwrap();
    lock.try_lock().unwrap();
    let mut list = keyfob(directory.path(), &["client", "list"]).stdout(Stdio::null()).spawn().unwrap();
    let address = format!("127.0.0.1:{}", free_port());
    let mut command =
        keyfob(directory.path(), &["serve", "--listen", &address, "--issuer", &format!("http://{address}")]);
    std::thread::scope(|scope| {
        let server = scope.spawn(|| Process::by(directory.path(), &mut command, address.clone()));
        // The lock is released as soon as another process has found it.
        while !has_open(list.id(), "keyfob.pid") && list.try_wait().unwrap().is_none() {}
        drop(lock);
        let server = server.join().unwrap();
        assert!(list.wait().unwrap().success());
        assert_eq!(server.stop(), 0);
    });
}

#[test]
fn a_command_without_a_store_says_how_to_begin() {
    let directory = tempdir().unwrap();
    let error = refused(directory.path(), &["client", "list"]);
    assert!(error.contains("data/keyfob.redb") && error.contains("keyfob init"), "{error}");
    assert!(!directory.path().join("data").exists(), "asking makes nothing");
}

#[test]
fn init_prints_the_credentials_once() {
    let directory = tempdir().unwrap();
    let first = json_of(directory.path(), &["init"]);
    let known = admin(directory.path());
    assert_eq!(
        (&first["initialised"], &first["client_id"], &first["client_secret"]),
        (&json!(true), &json!(known.id), &json!(known.secret))
    );
    let second = printed(directory.path(), &["init"]);
    assert!(second.contains("data/admin.json") && !second.contains(&known.secret), "{second}");
    assert_eq!(json_of(directory.path(), &["init"])["initialised"], false);
    assert_eq!(admin(directory.path()).secret, known.secret);
    let other = tempdir().unwrap();
    let human = printed(other.path(), &["init"]);
    assert!(human.contains(&admin(other.path()).secret), "{human}");
}

#[test]
fn the_effective_configuration_is_shown_with_its_origins_and_without_secrets() {
    let directory = tempdir().unwrap();
    let hash = "0123456789abcdef".repeat(4);
    let toml = format!(
        "[policy.default]\nidle_timeout = \"1h\"\n[[client]]\nclient_id = \"backend\"\nsecret_sha256 = \
         \"{hash}\"\n"
    );
    fs::write(directory.path().join("config.toml"), toml).unwrap();
    assert!(printed(directory.path(), &["config", "check"]).contains("the configuration is valid"));
    assert_eq!(json_of(directory.path(), &["config", "check"])["valid"], true);
    let output = keyfob(directory.path(), &["--json", "config", "show"])
        .env("KEYFOB_LOG__LEVEL", "debug")
        .output()
        .unwrap();
    let shown = String::from_utf8(output.stdout).unwrap();
    let settings: Vec<Value> = serde_json::from_str(&shown).unwrap();
    let of = |key: &str| {
        settings.iter().find(|setting| setting["key"] == key).unwrap_or_else(|| panic!("{key} in {shown}"))
    };
    let (file, environment) = (of("policy.default.idle_timeout"), of("log.level"));
    assert!(file["value"] == "1h" && file["origin"].as_str().unwrap().contains("config.toml"), "{file}");
    assert!(
        environment["value"] == "debug"
            && environment["origin"].as_str().unwrap().contains("KEYFOB_LOG__LEVEL"),
        "{environment}"
    );
    assert_eq!(of("policy.default.absolute_lifetime")["value"], "24h");
    let human = printed(directory.path(), &["config", "show"]);
    for text in [&shown, &human] {
        assert!(text.contains("secret_sha256") && !text.contains(&hash), "{text}");
    }
    assert!(!directory.path().join("data").exists(), "reading creates nothing");
}

#[test]
fn the_document_is_printed_without_a_store() {
    let directory = tempdir().unwrap();
    let document: Value = serde_json::from_str(&printed(directory.path(), &["openapi"])).unwrap();
    assert!(document["openapi"].is_string() && document["paths"]["/oauth2/token"]["post"].is_object());
    assert!(!directory.path().join("data").exists());
}
