use std::collections::HashMap;

use generated::apis::{configuration::Configuration, sessions_api};
use generated::models::{Introspection, OpenSessionBody};

#[tokio::main]
async fn main() {
    let inactive: Introspection = serde_json::from_str(r#"{"active":false}"#).unwrap();
    assert!(!inactive.active);
    let configuration = Configuration {
        base_path: std::env::var("KEYFOB_URL").unwrap(),
        basic_auth: Some(("app".to_owned(), std::env::var("KEYFOB_SECRET").ok())),
        ..Configuration::default()
    };
    let mut body = OpenSessionBody::new("alice".to_owned());
    body.claims = Some(Some(HashMap::from([("tier".to_owned(), "gold".into())])));
    let opened = sessions_api::open_session(&configuration, body, None).await.unwrap();
    let read = sessions_api::read_session(&configuration, &opened.session.id).await.unwrap();
    println!("{}", read.claims["tier"]);
}
