//! Registered clients: their settings, permissions and secrets.

use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::access::TokenFormat;
use super::id::{ClientId, Hash, Position};
use super::names::{ADMIN_SOCKET, CONSOLE, ENGINE, names};
use super::refusal::{Refusal, Refused};
use super::scope::ScopeSet;
use super::text::TextPattern;
use super::time::Timestamp;

/// How many secrets can be valid at once: two, during a rotation.
const SECRETS_MAX: usize = 2;
/// The most entries of `audiences`, `serves` and `opens_for`.
const LIST_MAX: usize = 64;
/// An audience of access tokens: 1 to 256 bytes without white space and control characters.
pub const AUDIENCE: TextPattern = TextPattern {
    min: 1,
    max: 256,
    regex: r"^[^\u0000-\u0020\u007f-\u00a0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000]*$",
};

/// A registered client.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Client {
    /// `client_id`.
    pub id: ClientId,
    /// Whether it has a secret.
    pub kind: ClientKind,
    /// Its permissions at `/v1` and at introspection.
    pub permissions: Vec<Permission>,
    /// The grants it may use at the token endpoint.
    pub grants: Vec<Grant>,
    /// The scopes that it may request.
    pub scopes: ScopeSet,
    /// The audiences that it may request.
    pub audiences: Vec<Box<str>>,
    /// The resources (audiences) that it serves.
    pub serves: Vec<Box<str>>,
    /// The clients that it may open sessions and families for.
    pub opens_for: Vec<ClientId>,
    /// The name of its policy.
    pub policy: Box<str>,
    /// The form of the access tokens issued to it.
    pub access_token_format: TokenFormat,
    /// While true, its requests are rejected and its tokens inactive.
    pub disabled: bool,
    /// Whether the configuration file declares it; then the API cannot change it.
    pub declared: bool,
    /// Its valid secrets, newest first; none for a public client.
    pub secrets: Vec<ClientSecret>,
    pub created_at: Timestamp,
    pub updated_at: Timestamp,
    /// The event position of its creation; the store sets it. It tells this client from an earlier one of the
    /// same name, which was deleted.
    pub incarnation: Position,
    /// Its own tokens that were issued at an earlier event position have ended, and so have the requests that
    /// were authenticated earlier; 0 if they never were.
    pub tokens_from: Position,
}

/// A client as a request found it. Its transaction compares it with the record of that moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Party {
    pub client: Arc<Client>,
    /// Whether it sent the request; else something is issued to it.
    pub is_caller: bool,
}

/// A client's secret, as it is stored.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClientSecret {
    /// SHA-256 of the secret, which is 256 random bits.
    pub hash: Hash,
    /// Until when it is valid; `None` means no limit.
    pub until: Option<Timestamp>,
}

names! {
    /// Whether a client has a secret (RFC 6749 §2.1).
    #[derive(Serialize, Deserialize)]
    pub enum ClientKind {
        /// It authenticates with a secret.
        Confidential = "confidential",
        /// It has no secret, and only refreshes and revokes its own tokens.
        Public = "public",
    }
}

names! {
    /// What a client may do in addition to refreshing and revoking its own tokens.
    #[derive(Serialize, Deserialize)]
    pub enum Permission {
        /// Open sessions; read, change, renew and end those that it opened; read and end those opened for it.
        Sessions = "sessions",
        /// Introspect tokens that were issued to it or are for a resource that it serves.
        Introspect = "introspect",
        IntrospectAny = "introspect:any",
        /// Read the whole event log.
        Events = "events",
        Metrics = "metrics",
        /// All of the above, and administration.
        Admin = "admin",
    }
}

names! {
    /// A grant of the token endpoint.
    #[derive(Serialize, Deserialize)]
    pub enum Grant {
        /// `refresh_token` (RFC 6749 §6).
        RefreshToken = "refresh_token",
        /// `client_credentials` (RFC 6749 §4.4).
        ClientCredentials = "client_credentials",
    }
}

names! {
    /// Why a caller is not authenticated; for the log and the metrics only.
    pub enum AuthFailure {
        /// There is no such client.
        UnknownClient = "unknown_client",
        /// The secret is wrong, or missing.
        WrongSecret = "wrong_secret",
        DisabledClient = "disabled_client",
        Malformed = "malformed",
        /// The bearer token is invalid.
        BearerToken = "bearer_token",
        /// The link to the console is wrong, used or too old.
        ConsoleLink = "console_link",
    }
}

impl Client {
    /// A confidential client with this secret and no rights. The store sets its incarnation.
    pub fn new(id: ClientId, secret: Option<Hash>, at: Timestamp) -> Self {
        Self {
            id,
            kind: ClientKind::Confidential,
            permissions: vec![],
            grants: vec![],
            scopes: ScopeSet::default(),
            audiences: vec![],
            serves: vec![],
            opens_for: vec![],
            policy: "default".into(),
            access_token_format: TokenFormat::Paseto,
            disabled: false,
            declared: false,
            secrets: secret.map(|hash| ClientSecret { hash, until: None }).into_iter().collect(),
            created_at: at,
            updated_at: at,
            incarnation: Position::default(),
            tokens_from: Position::default(),
        }
    }

    /// Whether it may do all that `before` could as a caller.
    pub fn keeps_permissions_of(&self, before: &Self) -> bool {
        before.permissions.iter().all(|permission| self.may(*permission))
            && before.opens_for.iter().all(|id| self.opens_for.contains(id) || self.may(Permission::Admin))
    }

    /// Whether it may be issued all that `before` could.
    pub fn keeps_grants_of(&self, before: &Self) -> bool {
        before.grants.iter().all(|grant| self.has_grant(*grant))
            && self.scopes.contains_all(&before.scopes)
            && before.audiences.iter().all(|audience| self.audiences.contains(audience))
            // A client without audiences is issued tokens for the issuer.
            && before.audiences.is_empty() == self.audiences.is_empty()
    }

    /// Whether it is the client that had the name `name` when something was issued at `issued`, and not a
    /// later one of that name. Nothing is issued to a client after its deletion, so the position decides.
    pub fn was(&self, name: &str, issued: Position) -> bool {
        *self.id.as_str() == *name && issued >= self.incarnation
    }

    /// Whether its own token that was issued at `issued` belongs to this registration and has not been ended.
    pub fn has_own_token(&self, name: &str, issued: Position) -> bool {
        self.was(name, issued) && issued >= self.tokens_from
    }

    /// Whether changing `before` into this client ends its own tokens: it loses the grant, or every secret.
    pub fn ends_own_tokens_of(&self, before: &Self) -> bool {
        let grant = Grant::ClientCredentials;
        let keeps = |old: &ClientSecret| self.secrets.iter().any(|secret| secret.hash == old.hash);
        (before.has_grant(grant) && !self.has_grant(grant))
            || (!before.secrets.is_empty() && !before.secrets.iter().any(keeps))
    }

    /// Whether it has `permission`; `admin` implies every other.
    pub fn may(&self, permission: Permission) -> bool {
        self.permissions.iter().any(|held| *held == permission || *held == Permission::Admin)
    }

    /// Whether it may use `grant`.
    pub fn has_grant(&self, grant: Grant) -> bool {
        self.grants.contains(&grant)
    }

    /// Refuses a client without `grant`.
    ///
    /// # Errors
    /// `UnauthorizedClient`, naming the grant.
    pub fn check_grant(&self, grant: Grant) -> Result<(), Refused> {
        if self.has_grant(grant) {
            return Ok(());
        }
        let why = format!("the client does not have the grant {}", grant.as_str());
        Err(Refusal::UnauthorizedClient.because(why))
    }

    /// Authenticates it by a secret, of which `hash` is `None` if it does not have the form of one.
    ///
    /// # Errors
    /// The reason, for a wrong secret or a disabled client.
    pub fn check_secret(&self, hash: Option<&Hash>, now: Timestamp) -> Result<(), AuthFailure> {
        self.check_enabled()?;
        let is_known = hash.is_some_and(|hash| self.knows_secret(hash, now));
        is_known.then_some(()).ok_or(AuthFailure::WrongSecret)
    }

    /// Authenticates it by its name alone.
    ///
    /// # Errors
    /// The reason, for a client that is not public or is disabled.
    pub fn check_name(&self) -> Result<(), AuthFailure> {
        self.check_enabled()?;
        (self.kind == ClientKind::Public).then_some(()).ok_or(AuthFailure::WrongSecret)
    }

    /// Refuses a disabled client: it is not authenticated, and its tokens are invalid.
    ///
    /// # Errors
    /// `DisabledClient`.
    pub fn check_enabled(&self) -> Result<(), AuthFailure> {
        if self.disabled { Err(AuthFailure::DisabledClient) } else { Ok(()) }
    }

    /// Refuses to issue something to a disabled client. `name` starts the sentence.
    ///
    /// # Errors
    /// `refusal`.
    pub fn check_issue(&self, refusal: Refusal, name: &str) -> Result<(), Refused> {
        let why = || format!("{name} is disabled: nothing is issued to it until it is enabled again");
        self.check_enabled().map_err(|_| refusal.because(why()))
    }

    /// Refuses to declare it in the configuration file, if it was registered through the API. A client that
    /// was declared before is disabled.
    ///
    /// # Errors
    /// `Conflict`.
    pub fn check_declare(&self) -> Result<(), Refused> {
        if self.declared || self.disabled {
            return Ok(());
        }
        Err(Refusal::Conflict.because(format!(
            "[[client]] {}: a client of this name was registered through the API; delete it or choose \
             another client_id",
            self.id
        )))
    }

    /// Whether `hash` is that of a secret valid at `now`. Compares every secret, so that the time does not
    /// depend on which one matches.
    pub fn knows_secret(&self, hash: &Hash, now: Timestamp) -> bool {
        self.secrets.iter().fold(false, |known, secret| {
            known | ((secret.hash == *hash) & secret.until.is_none_or(|until| now < until))
        })
    }

    /// The scope to grant: the requested one, or all of the client's scopes.
    ///
    /// # Errors
    /// `InvalidScope` for a scope that is not one of the client's.
    pub fn grant_scope(&self, asked: Option<&ScopeSet>) -> Result<ScopeSet, Refused> {
        match asked {
            None => Ok(self.scopes.clone()),
            Some(asked) if self.scopes.contains_all(asked) => Ok(asked.clone()),
            Some(_) => Err(Refusal::InvalidScope
                .because("at least one of these scopes is not among the client's scopes")),
        }
    }

    /// The audience to grant: the requested one, else the client's only one, or `issuer` if it has none.
    ///
    /// # Errors
    /// `InvalidTarget` for an audience that is not one of the client's, or none where it has several.
    pub fn grant_audience(&self, asked: Option<&str>, issuer: &str) -> Result<Box<str>, Refused> {
        match (asked, self.audiences.as_slice()) {
            (Some(asked), audiences) if audiences.iter().any(|a| **a == *asked) => Ok(asked.into()),
            (Some(asked), []) if asked == issuer => Ok(issuer.into()),
            (Some(_), _) => {
                Err(Refusal::InvalidTarget.because("this audience is not among the client's audiences"))
            }
            (None, []) => Ok(issuer.into()),
            (None, [only]) => Ok(only.clone()),
            (None, several) => {
                Err(Refusal::InvalidTarget.because(format!("name one audience of: {}", several.join(", "))))
            }
        }
    }

    /// The audience of what is issued now under an earlier grant for `granted`. A client without audiences
    /// was granted the issuer, and a development server is another issuer at each port.
    pub fn audience_now<'a>(&self, granted: &'a str, issuer: &'a str) -> &'a str {
        let has_moved =
            self.audiences.is_empty() && is_of_this_machine(granted) && is_of_this_machine(issuer);
        if has_moved { issuer } else { granted }
    }

    /// The scope of what is issued now under an earlier grant: what the client may still request of it.
    ///
    /// # Errors
    /// `InvalidScope` if nothing is left of it; `InvalidTarget` if the client may not request the audience
    /// now.
    pub fn narrow(&self, granted: &ScopeSet, audience: &str, issuer: &str) -> Result<ScopeSet, Refused> {
        self.grant_audience(Some(audience), issuer)?;
        let left = granted.intersection(&self.scopes);
        if left.is_empty() && !granted.is_empty() {
            return Err(
                Refusal::InvalidScope.because("the client may not request any of the granted scopes now")
            );
        }
        Ok(left)
    }

    /// Makes `hash` the newest secret. The others stay valid for `keep_old_for`, or for the time that they
    /// have left if that is less.
    pub fn replace_secret(&mut self, hash: Hash, keep_old_for: Duration, now: Timestamp) {
        let until = now.plus(keep_old_for);
        self.secrets.retain(|old| !keep_old_for.is_zero() && old.until.is_none_or(|end| now < end));
        for old in &mut self.secrets {
            old.until = Some(old.until.map_or(until, |end| end.min(until)));
        }
        self.secrets.insert(0, ClientSecret { hash, until: None });
        self.secrets.truncate(SECRETS_MAX);
    }

    /// Checks the settings. A public client has no secret, so nothing that needs one (contract, section 4).
    ///
    /// # Errors
    /// `Invalid`, naming the field.
    pub fn validate(&self) -> Result<(), Refused> {
        let refuse = |field, problem: &str| Err(Refused::invalid(field, problem));
        if [ADMIN_SOCKET, CONSOLE, ENGINE].contains(&self.id.as_str()) {
            return refuse("client_id", "must be another name: this one is reserved for keyfob itself");
        }
        if self.kind == ClientKind::Public {
            let needs_a_secret = [
                ("permissions", self.permissions.is_empty()),
                ("serves", self.serves.is_empty()),
                ("opens_for", self.opens_for.is_empty()),
                ("grants", !self.has_grant(Grant::ClientCredentials)),
            ];
            for (field, absent) in needs_a_secret {
                if !absent {
                    return refuse(
                        field,
                        "must be absent: a public client only refreshes and revokes its own tokens, and has \
                         no permissions, serves, opens_for or client_credentials",
                    );
                }
            }
        }
        for (field, list) in [("audiences", &self.audiences), ("serves", &self.serves)] {
            if list.len() > LIST_MAX || !list.iter().all(|a| is_audience(a)) {
                return refuse(field, "must have at most 64 entries of 1 to 256 bytes, without white space");
            }
        }
        if self.opens_for.len() > LIST_MAX {
            return refuse("opens_for", "must have at most 64 entries");
        }
        Ok(())
    }
}

/// Whether `text` can be an audience.
pub fn is_audience(text: &str) -> bool {
    let is_invalid = |c: char| c.is_control() || c.is_whitespace();
    (1..=AUDIENCE.max).contains(&text.len()) && !text.chars().any(is_invalid)
}

/// The list without repetitions, in order.
pub fn distinct<T: PartialEq>(list: Vec<T>) -> Vec<T> {
    let mut kept: Vec<T> = vec![];
    for item in list {
        if !kept.contains(&item) {
            kept.push(item);
        }
    }
    kept
}

/// Whether this is an origin on the loopback interface, with a port.
fn is_of_this_machine(origin: &str) -> bool {
    let port = |host| origin.strip_prefix(host).and_then(|port| port.parse::<u16>().ok());
    ["http://127.0.0.1:", "http://localhost:", "http://[::1]:"].into_iter().find_map(port).is_some()
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    pub(crate) fn client(id: &str) -> Client {
        Client {
            id: id.parse().unwrap(),
            kind: ClientKind::Confidential,
            permissions: vec![],
            grants: vec![Grant::RefreshToken],
            scopes: "read write".parse().unwrap(),
            audiences: vec![],
            serves: vec![],
            opens_for: vec![],
            policy: "default".into(),
            access_token_format: TokenFormat::Paseto,
            disabled: false,
            declared: false,
            secrets: vec![],
            created_at: Timestamp::from_seconds(0),
            updated_at: Timestamp::from_seconds(0),
            incarnation: Position::default(),
            tokens_from: Position::default(),
        }
    }

    #[test]
    fn an_omitted_scope_is_all_of_the_clients_and_a_wider_one_is_refused() {
        let client = client("app");
        assert_eq!(client.grant_scope(None).unwrap().as_str(), "read write");
        assert_eq!(client.grant_scope(Some(&"read".parse().unwrap())).unwrap().as_str(), "read");
        assert!(client.grant_scope(Some(&"admin".parse().unwrap())).is_err());
    }

    #[test]
    fn an_omitted_audience_is_the_only_one_or_the_issuer_and_among_several_must_be_named() {
        let mut client = client("app");
        let issuer = "https://id.example";
        assert_eq!(&*client.grant_audience(None, issuer).unwrap(), issuer);
        assert_eq!(&*client.grant_audience(Some(issuer), issuer).unwrap(), issuer);
        assert!(client.grant_audience(Some("a"), issuer).is_err(), "it has none of its own");
        client.audiences = vec!["a".into()];
        assert_eq!(&*client.grant_audience(None, issuer).unwrap(), "a");
        assert!(client.grant_audience(Some(issuer), issuer).is_err(), "not among its own");
        client.audiences.push("b".into());
        let refused = client.grant_audience(None, issuer).unwrap_err();
        assert!(refused.detail.contains("a, b"), "{}", refused.detail);
        assert_eq!(&*client.grant_audience(Some("b"), issuer).unwrap(), "b");
    }

    #[test]
    fn only_between_ports_of_this_machine_a_grant_for_the_issuer_follows_it() {
        let (mut client, old) = (client("app"), "http://127.0.0.1:4711");
        for (granted, issuer, now) in [
            (old, "http://localhost:1", "http://localhost:1"),
            (old, "https://id.example", old),
            ("https://old.example", "http://[::1]:1", "https://old.example"),
            ("http://127.0.0.1:4711/api", "http://[::1]:1", "http://127.0.0.1:4711/api"),
        ] {
            assert_eq!(client.audience_now(granted, issuer), now, "{granted} {issuer}");
        }
        client.audiences = vec!["api".into()];
        assert_eq!(client.audience_now(old, "http://localhost:1"), old);
    }

    #[test]
    fn what_was_taken_from_a_client_is_taken_from_its_earlier_grants() {
        let mut client = client("app");
        let narrow = |client: &Client, granted: &str| {
            let left = client.narrow(&granted.parse().unwrap(), "https://id.example", "https://id.example");
            left.map(|scope| scope.to_string()).map_err(|refused| refused.refusal)
        };
        assert_eq!(narrow(&client, "read write").as_deref(), Ok("read write"));
        client.scopes = "read more".parse().unwrap();
        assert_eq!(narrow(&client, "read write").as_deref(), Ok("read"));
        assert_eq!(narrow(&client, "write"), Err(Refusal::InvalidScope));
        assert_eq!(narrow(&client, "").as_deref(), Ok(""), "nothing was taken from it");
        client.audiences = vec!["api".into()];
        assert_eq!(narrow(&client, "read"), Err(Refusal::InvalidTarget));
    }

    #[test]
    fn a_client_keeps_its_rights_unless_one_of_them_is_taken() {
        let before = Client {
            permissions: vec![Permission::Sessions],
            audiences: vec!["api".into()],
            opens_for: vec!["mobile".parse().unwrap()],
            ..client("app")
        };
        let kept = |change: fn(&mut Client)| {
            let mut after = before.clone();
            change(&mut after);
            (after.keeps_permissions_of(&before), after.keeps_grants_of(&before))
        };
        assert_eq!(kept(|after| after.scopes = "more read write".parse().unwrap()), (true, true));
        assert_eq!(kept(|after| after.audiences.push("other".into())), (true, true));
        assert_eq!(kept(|after| after.permissions = vec![]), (false, true));
        assert_eq!(kept(|after| after.opens_for = vec![]), (false, true));
        assert_eq!(kept(|after| after.scopes = "read".parse().unwrap()), (true, false));
        assert_eq!(kept(|after| after.audiences = vec!["other".into()]), (true, false));
        assert_eq!(kept(|after| after.grants = vec![]), (true, false));
        let administrator = |after: &mut Client| {
            (after.permissions, after.opens_for) = (vec![Permission::Admin], vec![]);
        };
        assert_eq!(kept(administrator), (true, true), "it may do everything");
        let (without, mut with) = (client("app"), client("app"));
        with.audiences = vec!["api".into()];
        assert!(!with.keeps_grants_of(&without), "it is issued tokens for the issuer no more");
    }

    /// Own tokens of an earlier client of the name have ended, and so have those before a revocation.
    #[test]
    fn an_own_token_is_of_this_registration_and_not_before_the_last_event_that_ended_some() {
        let client = Client { incarnation: Position(5), tokens_from: Position(8), ..client("app") };
        for (issued, was, has) in [(4, false, false), (5, true, false), (7, true, false), (8, true, true)] {
            assert_eq!(client.was("app", Position(issued)), was, "{issued}");
            assert_eq!(client.has_own_token("app", Position(issued)), has, "{issued}");
        }
        assert!(!client.has_own_token("other", Position(8)));
        let earlier = Client { tokens_from: Position(0), ..client };
        assert!(!earlier.has_own_token("app", Position(4)) && earlier.has_own_token("app", Position(5)));
    }

    #[test]
    fn own_tokens_end_with_the_grant_and_with_the_last_of_the_secrets() {
        let secret = |n| ClientSecret { hash: Hash([n; 32]), until: None };
        let mut before = client("app");
        (before.grants, before.secrets) = (vec![Grant::ClientCredentials], vec![secret(1), secret(2)]);
        let ends = |before: &Client, change: fn(&mut Client)| {
            let mut after = before.clone();
            change(&mut after);
            after.ends_own_tokens_of(before)
        };
        assert!(!ends(&before, |_| {}));
        assert!(!ends(&before, |after| after.secrets.truncate(1)), "one of its secrets is left");
        assert!(!ends(&before, |after| after.grants.push(Grant::RefreshToken)));
        assert!(ends(&before, |after| after.grants.clear()));
        assert!(ends(&before, |after| after.secrets[..].iter_mut().for_each(|s| s.hash = Hash([9; 32]))));
        let public = client("public");
        assert!(!ends(&public, |_| {}), "it has no secret to lose");
        assert!(!ends(&public, |after| after.grants = vec![Grant::ClientCredentials]));
        assert!(!ends(&public, |after| after.grants.clear()), "it did not have this grant");
    }

    #[test]
    fn a_client_uses_only_the_grants_that_it_has() {
        let client = client("app");
        assert!(client.check_grant(Grant::RefreshToken).is_ok());
        let refused = client.check_grant(Grant::ClientCredentials).unwrap_err();
        assert_eq!(refused.refusal, Refusal::UnauthorizedClient);
        assert_eq!(refused.detail, "the client does not have the grant client_credentials");
    }

    #[test]
    fn lists_of_a_client_have_at_most_64_entries_and_each_is_an_audience() {
        let field = |change: &dyn Fn(&mut Client)| {
            let mut client = client("app");
            change(&mut client);
            client.validate().err().map(|refused| refused.refusal)
        };
        let list = |entries| vec![Box::<str>::from("api"); entries];
        let clients = |entries| vec!["mobile".parse::<ClientId>().unwrap(); entries];
        assert_eq!(field(&|client| client.audiences = list(64)), None);
        assert_eq!(field(&|client| client.opens_for = clients(64)), None);
        for (name, change) in [
            ("audiences", &(|client: &mut Client| client.audiences = list(65)) as &dyn Fn(&mut Client)),
            ("audiences", &|client| client.audiences = vec!["api".into(), "a b".into()]),
            ("serves", &|client| client.serves = list(65)),
            ("serves", &|client| client.serves = vec!["".into()]),
            ("opens_for", &|client| client.opens_for = clients(65)),
        ] {
            assert_eq!(field(change), Some(Refusal::Invalid { field: name }));
        }
    }

    #[test]
    fn an_audience_has_1_to_256_bytes_and_neither_white_space_nor_control_characters() {
        for valid in ["a", "https://api.example", "\u{e9}", &"a".repeat(256)] {
            assert!(is_audience(valid), "{valid}");
        }
        for invalid in ["", " ", "a b", "a\u{7}", "a\u{3000}", &"a".repeat(257)] {
            assert!(!is_audience(invalid), "{invalid:?}");
        }
    }

    #[test]
    fn repetitions_are_removed_and_the_order_stays() {
        assert_eq!(distinct(vec![3, 1, 3, 2, 1]), [3, 1, 2]);
    }

    #[test]
    fn a_public_client_has_nothing_that_needs_a_secret() {
        let mut public = client("app");
        public.kind = ClientKind::Public;
        assert!(public.validate().is_ok());
        public.grants.push(Grant::ClientCredentials);
        assert_eq!(public.validate().unwrap_err().refusal, Refusal::Invalid { field: "grants" });
        public.grants.pop();
        public.serves.push("api".into());
        assert_eq!(public.validate().unwrap_err().refusal, Refusal::Invalid { field: "serves" });
    }

    #[test]
    fn no_client_can_have_a_name_of_keyfob_itself() {
        for reserved in [ADMIN_SOCKET, CONSOLE, ENGINE] {
            assert_eq!(
                client(reserved).validate().unwrap_err().refusal,
                Refusal::Invalid { field: "client_id" }
            );
        }
    }

    /// INT-45: two secrets overlap until the old one's end.
    #[test]
    fn an_old_secret_works_until_its_end_and_not_at_it() {
        let mut client = client("app");
        let until = Timestamp::from_seconds(10);
        client.secrets = vec![
            ClientSecret { hash: Hash([1; 32]), until: None },
            ClientSecret { hash: Hash([2; 32]), until: Some(until) },
        ];
        assert!(client.knows_secret(&Hash([1; 32]), until));
        assert!(client.knows_secret(&Hash([2; 32]), Timestamp::from_seconds(9)));
        assert!(!client.knows_secret(&Hash([2; 32]), until));
        assert!(!client.knows_secret(&Hash([3; 32]), until));
        client.secrets.push(client.secrets[0].clone());
        assert!(client.knows_secret(&Hash([1; 32]), until), "one that is stored twice");
    }

    /// INT-45: an old secret is valid for the given time, or for what it had left, and there are at most two.
    #[test]
    fn a_new_secret_limits_the_old_one_and_replaces_those_before() {
        let at = Timestamp::from_seconds;
        let secret = |n, until: Option<i64>| ClientSecret { hash: Hash([n; 32]), until: until.map(at) };
        for (name, old, keep_s, kept) in [
            ("without a limit", vec![secret(1, None)], 60, vec![secret(1, Some(160))]),
            ("that ends earlier", vec![secret(1, Some(130))], 60, vec![secret(1, Some(130))]),
            ("that ends later", vec![secret(1, Some(190))], 60, vec![secret(1, Some(160))]),
            ("that ends now", vec![secret(1, Some(100))], 60, vec![]),
            ("not to be kept", vec![secret(1, None)], 0, vec![]),
            ("before another", vec![secret(2, None), secret(1, Some(130))], 60, vec![secret(2, Some(160))]),
        ] {
            let mut client = Client { secrets: old, ..client("app") };
            client.replace_secret(Hash([9; 32]), Duration::from_secs(keep_s), at(100));
            assert_eq!(client.secrets, [vec![secret(9, None)], kept].concat(), "an old secret {name}");
        }
    }

    /// INT-32: the reasons are not in the answer.
    #[test]
    fn a_client_proves_itself_by_its_secret_or_its_name_and_not_while_disabled() {
        let mut client = client("app");
        let (now, known, other) = (Timestamp::from_seconds(9), Hash([1; 32]), Hash([2; 32]));
        client.secrets = vec![ClientSecret { hash: known, until: None }];
        assert_eq!(client.check_secret(Some(&known), now), Ok(()));
        for wrong in [Some(&other), None] {
            assert_eq!(client.check_secret(wrong, now), Err(AuthFailure::WrongSecret));
        }
        assert_eq!(client.check_name(), Err(AuthFailure::WrongSecret), "it has a secret");
        client.disabled = true;
        assert_eq!(client.check_secret(Some(&known), now), Err(AuthFailure::DisabledClient));
        client.kind = ClientKind::Public;
        assert_eq!(client.check_name(), Err(AuthFailure::DisabledClient));
        assert_eq!(client.check_issue(Refusal::Conflict, "it").unwrap_err().refusal, Refusal::Conflict);
        client.disabled = false;
        assert_eq!(client.check_name(), Ok(()));
        assert!(client.check_issue(Refusal::Conflict, "it").is_ok());
    }

    /// A declared client that is removed from the file is disabled, and can be declared again.
    #[test]
    fn a_client_of_the_api_is_not_declared_unless_it_is_disabled() {
        let mut client = client("app");
        assert_eq!(client.check_declare().unwrap_err().refusal, Refusal::Conflict);
        client.disabled = true;
        assert!(client.check_declare().is_ok());
        (client.disabled, client.declared) = (false, true);
        assert!(client.check_declare().is_ok());
    }
}
