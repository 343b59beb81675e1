//! An engine and its routes over a disk that the test can unplug.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use http::Method;
use keyfob::config::{Config, Sources};
use keyfob::domain::time::Timestamp;
use keyfob::engine::clock::Clock;
use keyfob::engine::{Engine, Rules};
use keyfob::http::request::cookie::Cookie;
use keyfob::http::request::limits::Limits;
use keyfob::http::request::origin::Origins;
use keyfob::http::wire::Service;
use keyfob::store::redb::{Options, Redb};
use redb::StorageBackend;
use serde_json::{Value, json};

use crate::harness::disk::Disk;
use crate::harness::fixture::keys;
use crate::harness::server::{Answer, Auth, Client, ISSUER, NOW_S, encoded, send, text};

/// The routes and the disk.
pub struct Wired {
    pub wire: Arc<Service>,
    pub disk: Disk,
    unplugged: Arc<AtomicBool>,
}

/// A disk on a cable.
#[derive(Debug)]
struct Cable {
    disk: Disk,
    unplugged: Arc<AtomicBool>,
}

impl Wired {
    /// A new one.
    pub async fn start() -> Self {
        Self::on(Disk::default()).await
    }

    /// Starts on what is on the disk.
    pub async fn on(disk: Disk) -> Self {
        let unplugged = Arc::new(AtomicBool::new(false));
        // Nothing is cached, so that every read needs the disk.
        let options = Options { cache_bytes: 0, write_queue_max: 4096 };
        let cable = Cable { disk: disk.clone(), unplugged: unplugged.clone() };
        let store = Arc::new(Redb::open_backend(cable, &keys(), options).unwrap());
        let config =
            Config::load(&Sources { directory: "/nonexistent".into(), ..Sources::default() }).unwrap();
        let rules = Rules {
            issuer: ISSUER.into(),
            policies: config.policies.clone(),
            retention: config.events_retention,
            rotate_every: config.keys.rotate_every,
            failed_auth_per_minute: config.limits.failed_auth_per_minute,
        };
        let (clock, _) = Clock::manual(Timestamp::from_seconds(NOW_S));
        let engine = Arc::new(Engine::start(store, keys(), rules, clock).await.unwrap());
        let cookie = Cookie { name: config.cookie.name.clone(), same_site: "Lax" };
        let limits = Limits {
            body_bytes_max: config.limits.body_bytes_max,
            form_bytes_max: config.limits.form_bytes_max,
            parameters_max: config.limits.parameters_max,
            request_timeout: config.limits.request_timeout,
        };
        let wire = Arc::new(keyfob::http::wire(
            &engine,
            cookie,
            Origins::new(ISSUER, &[]),
            &[].into(),
            None,
            limits,
            &Arc::default(),
        ));
        Self { wire, disk, unplugged }
    }

    /// From now on the disk neither reads nor writes.
    pub fn unplug(&self) {
        self.unplugged.store(true, Ordering::SeqCst);
    }

    /// Posts a form.
    pub async fn form(&self, path: &str, client: &Client, fields: &[(&str, &str)]) -> Answer {
        form(&self.wire, path, client, fields).await
    }

    /// Sends JSON.
    pub async fn json(&self, path: &str, auth: Auth<'_>, body: Value) -> Answer {
        send(&self.wire, Method::POST, path, auth, &[("content-type", "application/json")], body.to_string())
            .await
    }

    /// An application like [`crate::harness::server::Server::application`].
    pub async fn application(&self, id: &str) -> Client {
        let fields = json!({
            "client_id": id, "permissions": ["sessions", "introspect"],
            "grants": ["refresh_token", "client_credentials"],
        });
        let created = self.json("/v1/clients", Auth::Socket, fields).await.json();
        Client { id: id.into(), secret: text(&created["client_secret"]) }
    }

    /// Opens a session for `alice`.
    pub async fn open(&self, client: &Client) -> Value {
        let answer = self.json("/v1/sessions", Auth::Basic(client), json!({"subject": "alice"})).await;
        assert_eq!(answer.status, 201, "{}", answer.text());
        answer.json()
    }

    /// Whether a token is good.
    pub async fn is_active(&self, client: &Client, token: &str) -> bool {
        let answer = self.form("/oauth2/introspect", client, &[("token", token)]).await;
        assert_eq!(answer.status, 200, "{}", answer.text());
        answer.json()["active"] == json!(true)
    }
}

/// Posts a form to these routes.
pub async fn form(wire: &Service, path: &str, client: &Client, fields: &[(&str, &str)]) -> Answer {
    send(
        wire,
        Method::POST,
        path,
        Auth::Basic(client),
        &[("content-type", "application/x-www-form-urlencoded")],
        encoded(fields),
    )
    .await
}

impl Cable {
    fn plugged(&self) -> io::Result<&Disk> {
        if self.unplugged.load(Ordering::SeqCst) {
            Err(io::Error::other("unplugged"))
        } else {
            Ok(&self.disk)
        }
    }
}

impl StorageBackend for Cable {
    fn len(&self) -> io::Result<u64> {
        self.plugged()?.len()
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.plugged()?.read(offset, out)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.plugged()?.set_len(len)
    }

    fn sync_data(&self) -> io::Result<()> {
        self.plugged()?.sync_data()
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.plugged()?.write(offset, data)
    }
}
