//! Refused starts: one line names the cause and the fix, and nothing is changed.

use std::os::unix::process::CommandExt;

use super::*;

/// Checks that a message has these words.
fn says(error: &str, words: &[&str]) {
    for word in words {
        assert!(error.contains(word), "{word:?} in: {error}");
    }
}

fn serve(directory: &Path) -> String {
    refused(directory, &["serve", "--listen", &format!("127.0.0.1:{}", free_port())])
}

#[test]
fn a_second_server_is_refused_with_the_first_ones_process_id() {
    let directory = tempdir().unwrap();
    let server = Process::start(directory.path());
    let pid = format!("process {}", server.id());
    says(&serve(directory.path()), &["data", &pid, "stop"]);
    says(&refused(directory.path(), &["init"]), &[&pid]);
    get(&server, "/healthz", None);
    assert_eq!(server.stop(), 0);
}

#[test]
fn a_database_without_its_key_is_refused_until_the_key_is_restored() {
    let directory = initialised();
    let (key, away) = (data(directory.path(), "master.key"), directory.path().join("away"));
    fs::rename(&key, &away).unwrap();
    says(
        &serve(directory.path()),
        &["data/keyfob.redb", "data/master.key", "restore the key", "keyfob init"],
    );
    says(&refused(directory.path(), &["init"]), &["restore the key"]);
    assert!(!key.exists(), "no other key is created");
    fs::rename(&away, &key).unwrap();
    Process::start(directory.path());
}

#[test]
fn the_key_of_another_database_is_refused() {
    let (directory, other) = (initialised(), initialised());
    fs::copy(data(other.path(), "master.key"), data(directory.path(), "master.key")).unwrap();
    says(&serve(directory.path()), &["data/keyfob.redb", "master key"]);
}

#[test]
fn a_key_that_others_can_read_is_refused() {
    let directory = initialised();
    fs::set_permissions(data(directory.path(), "master.key"), fs::Permissions::from_mode(0o644)).unwrap();
    says(&serve(directory.path()), &["data/master.key", "0644", "chmod 600"]);
}

#[test]
fn a_lost_database_is_not_mistaken_for_a_first_start() {
    let directory = initialised();
    fs::remove_file(data(directory.path(), "keyfob.redb")).unwrap();
    says(
        &serve(directory.path()),
        &["data/admin.json", "data/keyfob.redb", "missing", "keyfob db restore", "keyfob init"],
    );
    assert!(!data(directory.path(), "keyfob.redb").exists());
    fs::remove_file(data(directory.path(), "admin.json")).unwrap();
    assert!(run(directory.path(), &["init"]).status.success(), "the fix that it names works");
}

/// With a key from elsewhere a new installation cannot be distinguished from a lost database.
#[test]
fn with_a_key_from_elsewhere_init_comes_first() {
    let (directory, other) = (tempdir().unwrap(), initialised());
    let key = data(other.path(), "master.key");
    let with_key = |arguments: &[&str]| {
        let mut command = keyfob(directory.path(), arguments);
        command.env("KEYFOB_KEYS__MASTER_KEY_FILE", &key);
        command
    };
    says(&refused_by(with_key(&["serve"]), 1), &["data/keyfob.redb", "keyfob init"]);
    assert!(with_key(&["init"]).output().unwrap().status.success());
    Process::with(directory.path(), &[("KEYFOB_KEYS__MASTER_KEY_FILE", key.to_str().unwrap())]);
}

#[test]
fn an_occupied_port_is_named_and_another_one_works() {
    let directory = tempdir().unwrap();
    let occupied = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = occupied.local_addr().unwrap().to_string();
    says(
        &refused(directory.path(), &["serve", "--listen", &address]),
        &["cannot listen on", &address, "[server] listen"],
    );
    assert!(!data(directory.path(), "admin.sock").exists());
    Process::start(directory.path());
}

/// Root can write everywhere, so the process runs as another user.
#[test]
fn a_directory_that_cannot_be_written_to_is_named() {
    let directory = tempdir().unwrap();
    let program = program_in(directory.path());
    fs::set_permissions(directory.path(), fs::Permissions::from_mode(0o555)).unwrap();
    let mut command = Command::new(&program);
    command.arg("serve").env_clear().current_dir(directory.path()).stdin(Stdio::null());
    if rustix::process::geteuid().is_root() {
        command.uid(65_534).gid(65_534);
    }
    says(&refused_by(command, 1), &["data cannot be written to", "store.path"]);
    fs::set_permissions(directory.path(), fs::Permissions::from_mode(0o755)).unwrap();
    assert!(!directory.path().join("data").exists());
}

#[test]
fn a_directory_of_another_name_that_others_can_write_to_is_refused() {
    let directory = tempdir().unwrap();
    let shared = directory.path().join("shared");
    fs::create_dir(&shared).unwrap();
    fs::set_permissions(&shared, fs::Permissions::from_mode(0o777)).unwrap();
    let mut command = keyfob(directory.path(), &["serve"]);
    command.env("KEYFOB_STORE__PATH", "shared/keyfob.redb");
    says(&refused_by(command, 1), &["shared", "0777", "chmod 700"]);
    assert_eq!((mode(&shared), fs::read_dir(&shared).unwrap().count()), (0o777, 0));
}

/// One run reports every fault: the key, the value, its origin, and what would be valid.
#[test]
fn faults_of_the_configuration_are_named_with_their_origin() {
    let directory = tempdir().unwrap();
    let toml =
        "[server]\nlisten = \"nowhere\"\n[policy.default]\nidle_timeot = \"1h\"\naccess_token_ttl = 5\n";
    fs::write(directory.path().join("config.toml"), toml).unwrap();
    let mut command = keyfob(directory.path(), &["serve"]);
    command.env("KEYFOB_LIMITS__PARAMETERS_MAX", "many").env("KEYFOB_PORT", "tcp://10.0.0.1:80");
    let error = refused_by(command, 1);
    says(&error, &["server.listen", "nowhere", "config.toml", "policy.default.idle_timeot", "idle_timeout"]);
    says(&error, &["policy.default.access_token_ttl", "KEYFOB_LIMITS__PARAMETERS_MAX", "many"]);
    assert!(
        !error.contains("KEYFOB_PORT"),
        "variables that a container platform injects are ignored: {error}"
    );
    assert!(!directory.path().join("data").exists(), "nothing was created");
    says(&refused(directory.path(), &["config", "check"]), &["policy.default.idle_timeot"]);
}

#[test]
fn an_http_issuer_is_refused_except_on_a_loopback_host_with_a_warning() {
    let directory = tempdir().unwrap();
    let error = refused(directory.path(), &["serve", "--issuer", "http://id.example"]);
    says(&error, &["server.issuer", "http://id.example", "https"]);
    Process::start(directory.path());
    says(&fs::read_to_string(directory.path().join("log.txt")).unwrap(), &["WARN", "__Host-"]);
}

#[test]
fn wrong_usage_is_exit_code_2() {
    let directory = tempdir().unwrap();
    for wrong in [&["fly"][..], &["serve", "--port", "1"], &["client"], &["client", "show"], &["--config"]] {
        refused_by(keyfob(directory.path(), wrong), 2);
    }
    says(&refused(directory.path(), &["--config", "nowhere.toml", "serve"]), &["nowhere.toml"]);
    assert!(!directory.path().join("data").exists());
}

/// Only root can make files of another user.
#[test]
fn a_directory_or_file_of_another_user_is_refused() {
    if !rustix::process::geteuid().is_root() {
        return;
    }
    for mode in [0o755, 0o700, 0o777] {
        let directory = tempdir().unwrap();
        let store = directory.path().join("data");
        fs::create_dir(&store).unwrap();
        fs::set_permissions(&store, fs::Permissions::from_mode(mode)).unwrap();
        std::os::unix::fs::chown(&store, Some(65_534), Some(65_534)).unwrap();
        fs::write(directory.path().join("precious"), "precious").unwrap();
        std::os::unix::fs::symlink("../precious", store.join("keyfob.pid")).unwrap();
        says(&serve(directory.path()), &["data", "65534", "sudo -u"]);
        assert_eq!(fs::read(directory.path().join("precious")).unwrap(), b"precious");
        assert_eq!(store.metadata().unwrap().permissions().mode() & 0o777, mode, "not changed");
    }
    let directory = initialised();
    std::os::unix::fs::chown(data(directory.path(), "keyfob.pid"), Some(65_534), None).unwrap();
    says(&serve(directory.path()), &["data/keyfob.pid", "65534", "chown 0"]);
}

#[test]
fn a_configuration_file_or_secret_that_other_users_can_change_is_refused() {
    let directory = tempdir().unwrap();
    let config = directory.path().join("config.toml");
    fs::write(&config, "[log]\nlevel = \"info\"\n").unwrap();
    fs::set_permissions(&config, fs::Permissions::from_mode(0o666)).unwrap();
    says(&serve(directory.path()), &["config.toml", "other users can change", "chmod o-w"]);
    let secret = directory.path().join("secret");
    fs::write(&secret, "kfc_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA").unwrap();
    fs::write(&config, "[[client]]\nclient_id = \"app\"\nsecret_file = \"secret\"\n").unwrap();
    fs::set_permissions(&config, fs::Permissions::from_mode(0o644)).unwrap();
    for (mode, words) in
        [(0o644, ["other users can access", "chmod o="]), (0o660, ["the group can change", "chmod g-w"])]
    {
        fs::set_permissions(&secret, fs::Permissions::from_mode(mode)).unwrap();
        says(&serve(directory.path()), &words);
    }
    fs::set_permissions(&secret, fs::Permissions::from_mode(0o640)).unwrap();
    Process::start(directory.path());
}

/// Without an admin socket the commands use the address with the credentials in `admin.json`.
#[test]
fn commands_work_without_an_admin_socket() {
    let directory = tempdir().unwrap();
    let address = format!("127.0.0.1:{}", free_port());
    let setting = ("KEYFOB_SERVER__ADMIN_SOCKET", "none");
    let server =
        Process::at(directory.path(), address.rsplit_once(':').unwrap().1.parse().unwrap(), &[setting]);
    assert!(!data(directory.path(), "admin.sock").exists());
    assert!(server.greeting.contains("curl -u "), "{}", server.greeting);
    let command = |arguments: &[&str]| {
        let mut command = keyfob(directory.path(), arguments);
        command.env(setting.0, setting.1).env("KEYFOB_SERVER__LISTEN", &address);
        command.output().unwrap()
    };
    for arguments in [&["client", "list"][..], &["ready"], &["db", "backup", "b.backup"]] {
        let output = command(arguments);
        assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    }
    assert_eq!(server.stop(), 0);
    assert!(command(&["client", "list"]).status.success(), "no server runs: the command opens the store");
    says(&String::from_utf8(command(&["ready"]).stderr).unwrap(), &["no server answers at 127.0.0.1"]);
}

/// Deep directories of CI workspaces pass the limit of socket addresses.
#[test]
fn a_store_in_a_deep_directory_has_an_admin_socket() {
    let directory = tempdir().unwrap();
    let deep = directory.path().join("long-name-".repeat(11)).join("s");
    let path = deep.join("keyfob.redb");
    assert!(path.as_os_str().len() > 107);
    let server = Process::with(directory.path(), &[("KEYFOB_STORE__PATH", path.to_str().unwrap())]);
    assert!(deep.join("admin.sock").exists());
    let mut command = keyfob(directory.path(), &["client", "list"]);
    let output = command.env("KEYFOB_STORE__PATH", &path).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(server.stop(), 0);
    assert!(!deep.join("admin.sock").exists());
}

#[test]
fn the_admin_socket_can_be_elsewhere_in_a_safe_directory() {
    let directory = tempdir().unwrap();
    let run = directory.path().join("run");
    fs::create_dir(&run).unwrap();
    let socket = run.join("keyfob.sock");
    let setting = [("KEYFOB_SERVER__ADMIN_SOCKET", socket.to_str().unwrap())];
    fs::set_permissions(&run, fs::Permissions::from_mode(0o777)).unwrap();
    let mut command = keyfob(directory.path(), &["serve", "--listen", &format!("127.0.0.1:{}", free_port())]);
    command.env(setting[0].0, setting[0].1);
    says(&refused_by(command, 1), &["run", "0777", "chmod 700"]);
    fs::set_permissions(&run, fs::Permissions::from_mode(0o755)).unwrap();
    let _server = Process::with(directory.path(), &setting);
    assert!(!data(directory.path(), "admin.sock").exists());
    let output = keyfob(directory.path(), &["ready"]).env(setting[0].0, setting[0].1).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

/// A socket of another user could answer anything and get secrets.
#[test]
fn a_command_uses_no_socket_of_another_user() {
    if !rustix::process::geteuid().is_root() {
        return;
    }
    let directory = initialised();
    let socket = data(directory.path(), "admin.sock");
    let _listener = std::os::unix::net::UnixListener::bind(&socket).unwrap();
    std::os::unix::fs::chown(&socket, Some(65_534), None).unwrap();
    says(&refused(directory.path(), &["client", "list"]), &["admin.sock", "65534", "it is not used"]);
}

/// `/sys` has no sockets, as the bind mounts of container desktops have none.
#[test]
fn a_file_system_without_sockets_is_a_warning() {
    let socket = "/sys/keyfob.sock";
    let has_none = std::os::unix::net::UnixListener::bind(socket)
        .is_err_and(|error| error.raw_os_error() == Some(rustix::io::Errno::PERM.raw_os_error()));
    if !has_none {
        return;
    }
    let directory = tempdir().unwrap();
    let server = Process::with(directory.path(), &[("KEYFOB_SERVER__ADMIN_SOCKET", socket)]);
    let log = fs::read_to_string(directory.path().join("log.txt")).unwrap();
    says(&log, &["WARN", "no admin socket", socket, "[server] admin_socket"]);
    get(&server, "/v1/clients/admin", Some(&admin(directory.path())));
}
