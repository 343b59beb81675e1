//! Each failed check alone makes a valid token inactive, and each caller introspects only its tokens.

use std::sync::Arc;
use std::time::Duration;

use super::*;
use crate::domain::client::{Client, Permission};
use crate::domain::cutoff::{CutOff, CutOffs};
use crate::domain::end::{End, EndReason};
use crate::domain::family::Family;
use crate::domain::id::Position;
use crate::domain::session::{Device, Revocation, RevokedToken};
use crate::domain::time::Timestamp;

const ISSUER: &str = "https://id.example";
const TOKEN: TokenId = TokenId([7; 16]);

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_seconds(1_000 + seconds)
}

fn client(id: &str, permissions: &[Permission]) -> Client {
    Client { permissions: permissions.to_vec(), ..Client::new(id.parse().unwrap(), None, at(0)) }
}

fn authentication() -> Authentication {
    Authentication { at: at(0), acr: Some("strong".into()), amr: vec!["otp".into()] }
}

/// A session of `app`, opened by `backend`, with a family of `mobile`.
fn session() -> Session {
    let family = Family {
        number: 1,
        client_id: "mobile".parse().unwrap(),
        scope: "read".parse().unwrap(),
        audience: "api".into(),
        authentication: Authentication { acr: None, ..authentication() },
        issued: Position(5),
        end: None,
        generation: 2,
        current: Hash([2; 32]),
        previous: Some(Hash([1; 32])),
        refreshed_at: at(0),
        window: None,
    };
    Session {
        id: SessionId([1; 16]),
        subject: "alice".parse().unwrap(),
        client_id: "app".parse().unwrap(),
        opened_by: "backend".into(),
        issued: Position(5),
        created_at: at(0),
        authentication: authentication(),
        last_used_at: at(0),
        idle_timeout: Duration::from_secs(600),
        expires_at: at(3_600),
        remember: false,
        scope: "read write".parse().unwrap(),
        audience: "api".into(),
        renewals: 1,
        token: Hash([9; 32]),
        device: Device::default(),
        claims: Some(Claims(r#"{"team":"red"}"#.into())),
        version: 1,
        claims_version: 1,
        families: vec![family],
        next_family: 2,
        own_family: Some(1),
        revoked_tokens: vec![],
        revoked_until: 0,
        end: None,
        expiry_reported: false,
    }
}

fn end() -> End {
    End { at: at(1), reason: EndReason::Admin, by: "root".into() }
}

/// Everything that a judgement goes by; changed one thing at a time.
struct Case {
    token: AccessToken,
    session: Option<Session>,
    client: Option<Client>,
    caller: Caller,
    cuts: CutOffs,
    now: Timestamp,
    revoked: bool,
}

/// A doubt, and how it comes about.
type Doubt = (&'static str, fn(&mut Case));

/// An access token of `mobile` for `api`, from 100 to 400, judged at 200 for `mobile` itself.
fn case() -> Case {
    let token = AccessToken {
        issuer: ISSUER.into(),
        subject: "alice".parse().unwrap(),
        audience: "api".into(),
        not_before: Some(at(100).seconds()),
        issued_at: at(100).seconds(),
        expires_at: at(400).seconds(),
        id: TOKEN,
        client_id: "mobile".parse().unwrap(),
        scope: "read".parse().unwrap(),
        issued_for: IssuedFor::Session {
            id: session().id,
            family: Some(1),
            authentication: authentication(),
            claims: Some(Claims("{}".into())),
        },
    };
    Case {
        token,
        session: Some(session()),
        client: Some(client("mobile", &[])),
        caller: Caller::Client(Arc::new(client("mobile", &[]))),
        cuts: CutOffs::default(),
        now: at(200),
        revoked: false,
    }
}

/// A client's own token, issued at position 5.
fn own() -> Case {
    let mut case = case();
    case.token.issued_for = IssuedFor::Client { issued: Position(5) };
    case.session = None;
    case
}

impl Case {
    fn judgement(&self) -> Judgement<'_> {
        let validity = Validity { now: self.now, cuts: &self.cuts, client: self.client.as_ref() };
        Judgement { caller: &self.caller, validity }
    }

    fn access(&self) -> Option<Active> {
        self.judgement().access_token(&self.token, ISSUER, self.session.as_ref(), self.revoked).ok()
    }

    /// Why its access token is inactive.
    fn why_not(&self) -> &'static str {
        let judgement = self.judgement();
        let answer = judgement.access_token(&self.token, ISSUER, self.session.as_ref(), self.revoked);
        answer.unwrap_err().code()
    }

    fn refresh(&self, generation: u32, hash: Hash) -> Option<Active> {
        self.judgement().refresh_token(self.session.as_ref().unwrap(), 1, generation, &hash).ok()
    }

    fn session_token(&self, renewals: u32, hash: Hash) -> Option<Active> {
        self.judgement().session_token(self.session.as_ref().unwrap(), renewals, &hash).ok()
    }

    fn session(&mut self) -> &mut Session {
        self.session.as_mut().unwrap()
    }

    fn asked_by(mut self, caller: Client) -> Self {
        self.caller = Caller::Client(Arc::new(caller));
        self
    }
}

fn everything_ended_at(position: u64) -> CutOffs {
    let cut = CutOff { position: Position(position), at: at(1), by: "root".into() };
    CutOffs { everything: Some(cut), ..CutOffs::default() }
}

fn deleted(client: &str) -> CutOffs {
    let cut = CutOff { position: Position(6), at: at(1), by: "root".into() };
    CutOffs { clients: [(client.parse().unwrap(), cut)].into(), ..CutOffs::default() }
}

#[test]
fn a_valid_access_token_is_answered_as_it_was_issued() {
    let active = case().access().unwrap();
    assert_eq!(
        (active.subject.as_str(), active.client_id.as_str(), active.scope.as_str()),
        ("alice", "mobile", "read")
    );
    assert_eq!(
        (active.audience.as_deref(), active.id, active.session),
        (Some("api"), Some(TOKEN), Some(session().id))
    );
    let times = (active.expires_at, active.issued_at, active.not_before);
    assert_eq!(times, (at(400).seconds(), Some(at(100).seconds()), Some(at(100).seconds())));
    assert_eq!((active.authentication, active.claims), (Some(authentication()), Some(Claims("{}".into()))));
    let active = own().access().unwrap();
    assert_eq!((active.session, active.authentication, active.claims), (None, None, None));
}

/// INT-110: expired at its very second, good from the very second it begins.
#[test]
fn an_access_token_is_good_from_its_first_second_to_before_its_last() {
    for (seconds, good) in [(99, false), (100, true), (399, true), (400, false)] {
        let case = Case { now: at(seconds), ..case() };
        assert_eq!(case.access().is_some(), good, "{seconds}");
    }
    let last = Case { now: Timestamp::from_millis(at(400).millis() - 1), ..case() };
    assert!(last.access().is_some(), "a fraction of a second is not rounded up");
}

/// Another server of the same store may have a clock that is a minute ahead.
#[test]
fn an_access_token_of_keyfob_now_is_valid_from_a_minute_before_it_was_issued() {
    for (seconds, active) in [(39, false), (40, true)] {
        let mut case = Case { now: at(seconds), ..case() };
        case.token.not_before = None;
        assert_eq!(case.access().is_some(), active, "{seconds}");
    }
}

fn revocation(id: TokenId) -> Revocation {
    Revocation { token: RevokedToken { id, expires_at: at(400).seconds() }, family: Some(1) }
}

#[test]
fn each_doubt_makes_an_access_token_inactive() {
    let doubts: [Doubt; 15] = [
        ("another issuer", |c| c.token.issuer = "https://other.example".into()),
        ("its client is gone", |c| c.client = None),
        ("its client is disabled", |c| c.client.as_mut().unwrap().disabled = true),
        ("no session", |c| c.session = None),
        ("another session", |c| c.session().id = SessionId([2; 16])),
        ("the session has ended", |c| c.session().end = Some(end())),
        ("the session is idle", |c| c.session().idle_timeout = Duration::from_secs(200)),
        ("the session is old", |c| c.session().expires_at = at(200)),
        ("the token was revoked", |c| c.session().revoked_tokens = vec![revocation(TOKEN)]),
        ("its family has ended", |c| c.session().families[0].end = Some(end())),
        ("its family is forgotten", |c| c.session().families.clear()),
        ("everything was ended", |c| c.cuts = everything_ended_at(6)),
        ("the session's client was deleted", |c| c.cuts = deleted("app")),
        ("the family's client was deleted", |c| c.cuts = deleted("mobile")),
        ("the caller is another", |c| {
            c.caller = Caller::Client(Arc::new(client("other", &[Permission::Introspect])))
        }),
    ];
    let reasons = "issuer client_deleted client_disabled session_unknown session_unknown session_ended \
                   session_expired session_expired revoked family_ended family_ended session_ended \
                   session_ended family_ended audience";
    for ((doubt, make), reason) in doubts.into_iter().zip(reasons.split_whitespace()) {
        let mut case = case();
        make(&mut case);
        assert_eq!(case.why_not(), reason, "{doubt}");
    }
    let mut case = case();
    case.session().revoked_tokens = vec![revocation(TokenId([8; 16]))];
    assert!(case.access().is_some(), "another token's revocation is not its own");
}

#[test]
fn each_doubt_makes_a_clients_own_token_inactive() {
    let doubts: [Doubt; 5] = [
        ("revoked", |c| c.revoked = true),
        ("everything was ended", |c| c.cuts = everything_ended_at(6)),
        ("its client was deleted and another took its name", |c| c.cuts = deleted("mobile")),
        ("its client is disabled", |c| c.client.as_mut().unwrap().disabled = true),
        ("expired", |c| c.now = at(400)),
    ];
    let reasons = ["revoked", "client_tokens_ended", "client_tokens_ended", "client_disabled", "expired"];
    for ((doubt, make), reason) in doubts.into_iter().zip(reasons) {
        let mut case = own();
        make(&mut case);
        assert_eq!(case.why_not(), reason, "{doubt}");
    }
    let later = Case { cuts: everything_ended_at(5), ..own() };
    assert!(later.access().is_some(), "it was issued at the cut-off, not before it");
}

/// A family that a token does not name is no doubt: the tokens of a session without families are active by
/// the session.
#[test]
fn a_token_without_family_is_active_by_its_session_alone() {
    let mut case = case();
    case.session().families.clear();
    case.token.issued_for =
        IssuedFor::Session { id: session().id, family: None, authentication: authentication(), claims: None };
    assert!(case.access().is_some());
}

/// Contract, section 4: `introspect` answers for the caller's own tokens and those meant for a resource that
/// it is.
#[test]
fn an_access_token_is_active_for_its_client_and_its_resource_only() {
    let mut resource = client("api-server", &[Permission::Introspect]);
    resource.serves = vec!["api".into()];
    let mut elsewhere = resource.clone();
    elsewhere.serves = vec!["api/v2".into(), "ap".into()];
    for (caller, expected) in [
        (client("mobile", &[Permission::Introspect]), true),
        (resource, true),
        (elsewhere, false),
        (client("backend", &[Permission::Introspect, Permission::Sessions]), false),
        (client("app", &[Permission::Introspect]), false),
        (client("gateway", &[Permission::IntrospectAny]), true),
        (client("root", &[Permission::Admin]), true),
    ] {
        let name = caller.id.to_string();
        assert_eq!(case().asked_by(caller).access().is_some(), expected, "{name}");
    }
    assert!(Case { caller: Caller::AdminSocket, ..case() }.access().is_some());
}

/// Contract, section 4: refresh and session tokens are active for their client and the session's opener,
/// never for resources.
#[test]
fn refresh_and_session_tokens_are_active_for_their_client_and_the_opener() {
    let mut resource = client("api-server", &[Permission::Introspect]);
    resource.serves = vec!["api".into()];
    for (caller, refresh, session) in [
        (client("mobile", &[Permission::Introspect]), true, false),
        (client("app", &[Permission::Introspect]), false, true),
        (client("backend", &[Permission::Introspect]), true, true),
        (resource, false, false),
        (client("gateway", &[Permission::IntrospectAny]), true, true),
    ] {
        let name = caller.id.to_string();
        let case = case().asked_by(caller);
        assert_eq!(case.refresh(2, Hash([2; 32])).is_some(), refresh, "{name}");
        assert_eq!(case.session_token(1, Hash([9; 32])).is_some(), session, "{name}");
    }
}

#[test]
fn refresh_and_session_tokens_are_answered_with_grant_and_deadline() {
    let case = Case { caller: Caller::AdminSocket, ..case() };
    let refresh = case.refresh(2, Hash([2; 32])).unwrap();
    assert_eq!((refresh.client_id.as_str(), refresh.scope.as_str()), ("mobile", "read"));
    assert_eq!(refresh.authentication.as_ref().unwrap().acr, None, "the family's own authentication");
    let session = case.session_token(1, Hash([9; 32])).unwrap();
    assert_eq!((session.client_id.as_str(), session.scope.as_str()), ("app", "read write"));
    assert_eq!(session.authentication, Some(authentication()));
    for active in [refresh, session] {
        assert_eq!((active.expires_at, active.subject.as_str()), (at(600).seconds(), "alice"));
        assert_eq!(
            (active.audience, active.id, active.issued_at, active.not_before),
            (None, None, None, None)
        );
        assert_eq!(active.claims, Some(Claims(r#"{"team":"red"}"#.into())));
    }
}

/// C-09: only the current token of a chain is active.
#[test]
fn spent_forged_and_future_refresh_tokens_are_inactive() {
    let case = case();
    assert!(case.refresh(2, Hash([2; 32])).is_some());
    for (generation, hash) in [(1, [1; 32]), (1, [2; 32]), (2, [1; 32]), (3, [2; 32]), (0, [0; 32])] {
        assert_eq!(case.refresh(generation, Hash(hash)), None);
    }
    assert_eq!(
        case.judgement().refresh_token(case.session.as_ref().unwrap(), 2, 2, &Hash([2; 32])),
        Err(Inactive::FamilyEnded),
        "another family"
    );
}

#[test]
fn only_the_current_session_token_is_active() {
    let case = Case { caller: Caller::AdminSocket, ..case() };
    assert!(case.session_token(1, Hash([9; 32])).is_some());
    for (renewals, hash) in [(0, [9; 32]), (2, [9; 32]), (1, [8; 32])] {
        assert_eq!(case.session_token(renewals, Hash(hash)), None);
    }
}

#[test]
fn each_doubt_makes_refresh_and_session_tokens_inactive() {
    let doubts: [Doubt; 6] = [
        ("the client is gone", |c| c.client = None),
        ("the client is disabled", |c| c.client.as_mut().unwrap().disabled = true),
        ("the session has ended", |c| c.session().end = Some(end())),
        ("the session is idle", |c| c.now = at(600)),
        ("everything was ended", |c| c.cuts = everything_ended_at(6)),
        ("the session's client was deleted", |c| c.cuts = deleted("app")),
    ];
    for (doubt, make) in doubts {
        let mut case = Case { caller: Caller::AdminSocket, ..case() };
        make(&mut case);
        assert_eq!(
            (case.refresh(2, Hash([2; 32])), case.session_token(1, Hash([9; 32]))),
            (None, None),
            "{doubt}"
        );
    }
    let of_the_family: [Doubt; 2] = [
        ("the family has ended", |c| c.session().families[0].end = Some(end())),
        ("the family's client was deleted", |c| c.cuts = deleted("mobile")),
    ];
    for (doubt, make) in of_the_family {
        let mut case = Case { caller: Caller::AdminSocket, ..case() };
        make(&mut case);
        assert_eq!(case.refresh(2, Hash([2; 32])), None, "{doubt}");
        assert!(case.session_token(1, Hash([9; 32])).is_some(), "the session stays active: {doubt}");
    }
}
