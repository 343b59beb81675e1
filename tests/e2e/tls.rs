//! TLS by keyfob itself, with no proxy: asked by curl and by openssl.

use std::process::{Command, Stdio};

use tempfile::TempDir;

use crate::house::{certify, free_port, output, start_keyfob};

const HOST: &str = "id.example.test";

/// SES-22, CKE-21.
#[test]
fn curl_and_openssl_are_served_by_tls_1_2_and_1_3_and_by_nothing_older() {
    let directory = TempDir::new().unwrap();
    certify(directory.path(), HOST);
    let files = [("KEYFOB_SERVER__TLS__CERT", "cert.pem"), ("KEYFOB_SERVER__TLS__KEY", "key.pem")];
    let (port, certificate) = (free_port(), directory.path().join("cert.pem"));
    let _keyfob =
        start_keyfob(directory.path(), &format!("127.0.0.1:{port}"), &format!("https://{HOST}"), &files);

    // curl checks the certificate and the name, and asks for HTTP/2 first.
    let mut curl = Command::new("curl");
    curl.args([
        "-s",
        "-S",
        "-i",
        "--max-time",
        "20",
        "--http2",
        "--resolve",
        &format!("{HOST}:{port}:127.0.0.1"),
        "--cacert",
    ])
    .arg(&certificate);
    let answer = output(curl.arg(format!("https://{HOST}:{port}/readyz")), "curl");
    let text =
        String::from_utf8_lossy(&answer.stdout).into_owned() + &String::from_utf8_lossy(&answer.stderr);
    assert!(text.starts_with("HTTP/1.1 200 OK\r\n"), "{text}");
    assert!(text.contains("strict-transport-security: max-age=31536000; includeSubDomains\r\n"), "{text}");
    assert!(text.contains("x-request-id: "), "{text}");
    let plain = output(
        Command::new("curl").args(["-s", "--max-time", "20", &format!("http://127.0.0.1:{port}/readyz")]),
        "curl",
    );
    assert!(!plain.status.success() && plain.stdout.is_empty(), "{plain:?}");

    for (version, is_spoken) in [("-tls1_3", true), ("-tls1_2", true), ("-tls1_1", false), ("-tls1", false)] {
        let mut openssl = Command::new("openssl");
        openssl.args([
            "s_client",
            "-connect",
            &format!("127.0.0.1:{port}"),
            "-servername",
            HOST,
            "-verify_return_error",
            "-CAfile",
        ]);
        openssl.arg(&certificate).args([version, "-cipher", "DEFAULT:@SECLEVEL=0"]).stdin(Stdio::null());
        let said = output(&mut openssl, "openssl");
        assert_eq!(said.status.success(), is_spoken, "{version}: {}", String::from_utf8_lossy(&said.stdout));
        // A version that this openssl could not even ask for would prove nothing.
        let alert = String::from_utf8_lossy(&said.stderr).contains("SSL alert number");
        assert_eq!(alert, !is_spoken, "{version}: {}", String::from_utf8_lossy(&said.stderr));
    }
}
