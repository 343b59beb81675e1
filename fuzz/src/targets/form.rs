//! The forms of `/oauth2/*`: parameters survive being encoded again.

use keyfob::fuzzing::{Form, decode};

use crate::text::percent_encoded;

const NAMES: &[&str] = &["grant_type", "refresh_token", "scope", "resource", "token"];
const CLIENT_NAMES: [&str; 3] = ["client_id", "client_secret", "client_assertion"];

pub fn run(input: &[u8]) {
    if let Some(text) = decode(input) {
        assert!(text.len() <= input.len());
        assert_eq!(decode(percent_encoded(&text).as_bytes()).as_deref(), Some(&*text));
    }
    let Ok(mut form) = Form::parse(NAMES, input) else { return };
    let names = NAMES.iter().chain(&CLIENT_NAMES).copied();
    let repeated: Vec<&str> = names.clone().filter(|name| form.is_repeated(name)).collect();
    let mut once = vec![];
    for name in names {
        match form.take(name) {
            Ok(value) => once.extend(value.map(|value| (name, value))),
            Err(_) => assert!(repeated.contains(&name)),
        }
    }
    let pairs: Vec<String> = once
        .iter()
        .map(|(name, value)| format!("{}={}", percent_encoded(name), percent_encoded(value)))
        .collect();
    let mut again =
        Form::parse(NAMES, pairs.join("&").as_bytes()).unwrap_or_else(|_| panic!("it is encoded"));
    for (name, value) in once {
        assert!(!value.is_empty());
        assert!(again.take(name).unwrap_or_default() == Some(value));
    }
}
