//! The caller of a use case: which client it is, what it is permitted to do, and which sessions it owns.

use std::marker::PhantomData;
use std::ops::Deref;
use std::sync::Arc;

use super::client::{Client, Party, Permission};
use super::console::Operator;
use super::cutoff::CutOffs;
use super::end::EndReason;
use super::event::Reach;
use super::family::Family;
use super::id::{ClientId, Position};
use super::names::{ADMIN_SOCKET, CONSOLE};
use super::refusal::{Refusal, Refused};
use super::session::Session;

/// An authenticated caller.
#[derive(Clone, Debug)]
pub enum Caller {
    Client(Arc<Client>),
    /// The admin socket: an administrator by file permission.
    AdminSocket,
    /// An operator at the console.
    Operator(Operator),
}

impl Caller {
    /// The name to record as `by` and `opened_by`.
    pub fn name(&self) -> &str {
        match self {
            Self::Client(client) => client.id.as_str(),
            Self::AdminSocket => ADMIN_SOCKET,
            Self::Operator(_) => CONSOLE,
        }
    }

    /// Whether the caller has `permission`; an administrator has all of them, and so has an operator, who may
    /// use them for changes only if [`Operator::check_change`] says so.
    pub fn may(&self, permission: Permission) -> bool {
        match self {
            Self::Client(client) => client.may(permission),
            Self::AdminSocket | Self::Operator(_) => true,
        }
    }

    /// The proof that the caller has the permission that `P` needs.
    ///
    /// # Errors
    /// `Forbidden`, naming the permission; for an operator also `LinkTooOld`.
    pub fn require<P: Needs>(&self) -> Result<Granted<P>, Refused> {
        if let (Self::Operator(operator), true) = (self, P::CHANGES) {
            operator.check_change()?;
        }
        if P::ANY_OF.iter().any(|permission| self.may(*permission)) {
            return Ok(Granted { caller: self.clone(), permission: PhantomData });
        }
        Err(Refusal::Forbidden.because(format!("this needs the permission {}", P::ANY_OF[0].as_str())))
    }

    /// Whether the caller is an administrator.
    pub fn is_admin(&self) -> bool {
        self.may(Permission::Admin)
    }

    /// The client that was authenticated; none for the admin socket and for operators.
    pub fn party(&self) -> Option<Party> {
        match self {
            Self::Client(client) => Some(Party { client: client.clone(), is_caller: true }),
            Self::AdminSocket | Self::Operator(_) => None,
        }
    }

    /// Refuses a caller whose client was deleted or disabled, whose credentials were revoked, or that lost a
    /// permission, since it was authenticated.
    ///
    /// # Errors
    /// `InvalidClient`; `Forbidden` for a lost permission.
    pub fn check_current(&self, cuts: &CutOffs) -> Result<(), Refused> {
        cuts.check_registered(self.party().as_slice())
    }

    /// Whether the caller is a client of this name.
    pub fn is(&self, id: &ClientId) -> bool {
        matches!(self, Self::Client(client) if client.id == *id)
    }

    /// Whether the caller is the client that had this name at `issued`: not a later one of the same name.
    pub fn was(&self, id: &ClientId, issued: Position) -> bool {
        matches!(self, Self::Client(client) if client.was(id.as_str(), issued))
    }

    /// Whether the caller opened `session`.
    fn opened(&self, session: &Session) -> bool {
        match self {
            Self::Client(client) => client.was(&session.opened_by, session.issued),
            Self::AdminSocket => *session.opened_by == *ADMIN_SOCKET,
            Self::Operator(_) => false,
        }
    }

    /// Whether the session is the caller's: it opened it, or it is the client that the session is for.
    pub fn owns(&self, session: &Session) -> bool {
        self.opened(session) || self.was(&session.client_id, session.issued)
    }

    /// Whether the family was issued to the caller.
    pub fn owns_family(&self, family: &Family) -> bool {
        self.was(&family.client_id, family.issued)
    }

    /// Whether the caller may open sessions and families for the client `id`.
    pub fn may_open_for(&self, id: &ClientId) -> bool {
        match self {
            Self::Client(client) => client.id == *id || client.opens_for.contains(id) || self.is_admin(),
            Self::AdminSocket | Self::Operator(_) => true,
        }
    }

    /// Whether the caller may read and end `session`: an owner, or an administrator.
    pub fn may_see(&self, session: &Session) -> bool {
        self.is_admin() || self.owns(session)
    }

    /// Refuses a caller that may not see `session`.
    ///
    /// # Errors
    /// `NotFound`, as for a session that does not exist.
    pub fn check_see(&self, session: &Session) -> Result<(), Refused> {
        if self.may_see(session) { Ok(()) } else { Err(Refused::no_such_session()) }
    }

    /// Refuses a caller that may not revoke a token that was issued to `issued_to`, in `session` if it has
    /// one. That client, the session's opener and administrators may (contract, section 5).
    ///
    /// # Errors
    /// `InvalidGrant`.
    pub fn check_revoke(&self, issued_to: &ClientId, session: Option<&Session>) -> Result<(), Refused> {
        let may =
            self.is_admin() || self.is(issued_to) || session.is_some_and(|session| self.opened(session));
        if may { Ok(()) } else { Err(Refused::invalid_grant()) }
    }

    /// Whether introspection answers the caller for an access token: one issued to it, or for a resource that
    /// it serves.
    pub fn may_introspect_access_token(&self, issued_to: &ClientId, audience: &str) -> bool {
        let serves = |client: &Client| client.serves.iter().any(|served| **served == *audience);
        self.may(Permission::IntrospectAny)
            || self.is(issued_to)
            || matches!(self, Self::Client(client) if serves(client))
    }

    /// Whether a check answers the caller for a session token, or for an access token with this audience.
    pub fn may_check(&self, session: &Session, issued_to: &ClientId, audience: Option<&str>) -> bool {
        match audience {
            None => self.owns(session),
            Some(audience) => self.may_introspect_access_token(issued_to, audience),
        }
    }

    /// Whether the caller is one of the parties of an event, or serves one of its audiences.
    pub fn is_reached_by(&self, reach: &Reach) -> bool {
        self.may(Permission::IntrospectAny)
            || matches!(self, Self::Client(client) if
                reach.parties.iter().any(|(name, issued)| client.was(name, *issued))
                    || reach.audiences.iter().any(|audience| client.serves.contains(audience)))
    }

    /// Whether introspection answers the caller for a refresh or session token: one issued to it, or of a
    /// session that it opened.
    pub fn may_introspect_token_of(&self, session: &Session, issued_to: &ClientId) -> bool {
        self.may(Permission::IntrospectAny) || self.is(issued_to) || self.opened(session)
    }
}

/// Proof that a caller has the permission that `P` needs. A use case that takes it cannot be reached without
/// the permission, and names it in no other place.
#[derive(Clone, Debug)]
pub struct Granted<P> {
    caller: Caller,
    permission: PhantomData<P>,
}

impl<P> Deref for Granted<P> {
    type Target = Caller;

    fn deref(&self) -> &Caller {
        &self.caller
    }
}

/// A kind of use case, and the permissions of which it needs one.
pub trait Needs: Clone + Send + Sync + 'static {
    /// The permissions; the first is the one that a refusal names.
    const ANY_OF: &'static [Permission];
    /// Whether it changes something, or reveals more than the console shows: then an operator needs a role
    /// that may change things, and a young link.
    const CHANGES: bool;
}

macro_rules! needs {
    ($($(#[$doc:meta])* $name:ident (changes: $changes:literal): $($permission:ident)|+;)+) => {$(
        $(#[$doc])*
        #[derive(Clone, Copy, Debug)]
        pub struct $name;

        impl Needs for $name {
            const ANY_OF: &'static [Permission] = &[$(Permission::$permission),+];
            const CHANGES: bool = $changes;
        }
    )+};
}

needs! {
    /// To open, change, renew and end sessions.
    UseSessions (changes: true): Sessions;
    /// To read sessions.
    ReadSessions (changes: false): Sessions;
    IntrospectTokens (changes: false): Introspect | IntrospectAny;
    /// To read the event log.
    ReadEvents (changes: false): Events;
    ReadMetrics (changes: false): Metrics;
    /// To administer clients and keys, and to copy the store.
    Administer (changes: true): Admin;
    /// To read clients, keys and the state of the store.
    Inspect (changes: false): Admin;
}

impl Granted<UseSessions> {
    /// Whether the caller may change `session`, renew it and open families in it: its opener, or an
    /// administrator.
    pub fn may_change(&self, session: &Session) -> bool {
        self.is_admin() || self.opened(session)
    }

    /// Refuses a caller that may not change `session`.
    ///
    /// # Errors
    /// `NotFound` for a session that the caller may not see, `Forbidden` for one that it may only read and
    /// end.
    pub fn check_change(&self, session: &Session) -> Result<(), Refused> {
        self.check_see(session)?;
        if session.is_of_console() {
            return Err(Refusal::Forbidden.because("a session of the console can only be read and ended"));
        }
        if self.may_change(session) {
            return Ok(());
        }
        Err(Refusal::Forbidden.because(
            "only the opener of the session and administrators may change it, renew it or open families in \
             it",
        ))
    }

    /// Refuses a caller that may not renew `session`: who may change it, and may still open for its client.
    ///
    /// # Errors
    /// As for a change; `Forbidden` for a client that is not in the caller's `opens_for` any more.
    pub fn check_renew(&self, session: &Session) -> Result<(), Refused> {
        self.check_change(session)?;
        if self.may_open_for(&session.client_id) {
            return Ok(());
        }
        Err(Refusal::Forbidden
            .because("the caller may not open sessions for the client of this session any more"))
    }

    /// The reason that is recorded when the caller ends `session`.
    pub fn end_reason(&self, session: &Session) -> EndReason {
        match &self.caller {
            Caller::Client(_) if self.owns(session) => EndReason::Logout,
            Caller::Operator(operator) if operator.session == session.id => EndReason::Logout,
            Caller::Client(_) | Caller::AdminSocket | Caller::Operator(_) => EndReason::Admin,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::client::tests::client;
    use crate::domain::console::ConsoleRole;
    use crate::domain::id::SessionId;
    use crate::domain::session::tests::session;
    use crate::domain::time::Timestamp;

    fn caller(name: &str, change: impl FnOnce(&mut Client)) -> Caller {
        let mut client = client(name);
        change(&mut client);
        Caller::Client(Arc::new(client))
    }

    fn granted(caller: &Caller) -> Granted<UseSessions> {
        Granted { caller: caller.clone(), permission: PhantomData }
    }

    /// Contract, section 5: the opener changes a session; the client that it is for reads and ends it.
    #[test]
    fn what_each_caller_may_do_with_a_session() {
        let [app, mobile] = ["app", "mobile"].map(|id| id.parse::<ClientId>().unwrap());
        let mut session = Session { opened_by: "bff".into(), ..session() };
        session.families[0].client_id = mobile.clone();
        let later = |client: &mut Client| client.incarnation = session.issued.next();
        let with = |permission| move |client: &mut Client| client.permissions = vec![permission];
        let opener = "owns sees changes revokes checks introspects";
        let administrator = "sees changes renews opens revokes introspects";
        for (name, caller, rights) in [
            ("its opener, which may not open for its client any more", caller("bff", |_| {}), opener),
            (
                "its opener",
                caller("bff", |bff| bff.opens_for = vec![app.clone()]),
                "owns sees changes renews opens revokes checks introspects",
            ),
            ("a later client of the opener's name", caller("bff", later), ""),
            ("the client that it is for", caller("app", |_| {}), "owns sees opens checks"),
            ("a later client of that name", caller("app", later), "opens"),
            ("the client of the family", caller("mobile", |_| {}), "family revokes introspects"),
            ("a later client of the family's name", caller("mobile", later), "revokes introspects"),
            ("another client", caller("other", with(Permission::Sessions)), ""),
            ("one that introspects any token", caller("rs", with(Permission::IntrospectAny)), "introspects"),
            ("an administrator", caller("root", with(Permission::Admin)), administrator),
            ("the admin socket", Caller::AdminSocket, administrator),
        ] {
            let all = [
                ("owns", caller.owns(&session)),
                ("family", caller.owns_family(&session.families[0])),
                ("sees", granted(&caller).may_see(&session)),
                ("changes", granted(&caller).may_change(&session)),
                ("renews", granted(&caller).check_renew(&session).is_ok()),
                ("opens", caller.may_open_for(&app)),
                ("revokes", caller.check_revoke(&mobile, Some(&session)).is_ok()),
                ("checks", caller.may_check(&session, &mobile, None)),
                ("introspects", caller.may_introspect_token_of(&session, &mobile)),
            ];
            let held: Vec<&str> = all.into_iter().filter_map(|(right, held)| held.then_some(right)).collect();
            assert_eq!(held.join(" "), rights, "{name}");
        }
        session.opened_by = ADMIN_SOCKET.into();
        assert!(Caller::AdminSocket.owns(&session), "it has no record that could have changed");
    }

    #[test]
    fn an_end_is_a_log_out_if_the_session_is_the_callers_own() {
        let session = session();
        let operator = |session| Operator {
            session,
            role: ConsoleRole::Admin,
            changes_until: None,
            now: Timestamp::from_seconds(0),
        };
        let of = |caller: &Caller| granted(caller).end_reason(&session);
        assert_eq!(of(&caller("app", |_| {})), EndReason::Logout);
        assert_eq!(of(&caller("root", |_| {})), EndReason::Admin);
        assert_eq!(of(&Caller::Operator(operator(session.id))), EndReason::Logout);
        assert_eq!(of(&Caller::Operator(operator(SessionId([9; 16])))), EndReason::Admin);
        assert_eq!(of(&Caller::AdminSocket), EndReason::Admin);
    }

    #[test]
    fn a_refusal_reveals_a_session_only_to_a_caller_that_may_see_it() {
        let session = Session { opened_by: "bff".into(), ..session() };
        let refusal = |checked: Result<(), Refused>| checked.unwrap_err().refusal;
        let (other, app, bff) = (caller("other", |_| {}), caller("app", |_| {}), caller("bff", |_| {}));
        assert_eq!(refusal(granted(&other).check_see(&session)), Refusal::NotFound);
        assert_eq!(refusal(granted(&other).check_change(&session)), Refusal::NotFound);
        assert_eq!(refusal(granted(&app).check_change(&session)), Refusal::Forbidden);
        assert_eq!(refusal(granted(&bff).check_renew(&session)), Refusal::Forbidden, "not in its opens_for");
        assert_eq!(refusal(bff.check_revoke(&"app".parse().unwrap(), None)), Refusal::InvalidGrant);
    }

    #[test]
    fn an_owner_logs_out_and_an_administrator_ends() {
        let session = session();
        let administrator = caller("root", |root| root.permissions = vec![Permission::Admin]);
        assert_eq!(granted(&caller("app", |_| {})).end_reason(&session), EndReason::Logout);
        assert_eq!(granted(&administrator).end_reason(&session), EndReason::Admin);
        assert_eq!(granted(&Caller::AdminSocket).end_reason(&session), EndReason::Admin);
    }

    #[test]
    fn a_check_of_an_access_token_goes_by_its_audience_and_of_a_session_token_by_ownership() {
        let (session, mobile) = (session(), "mobile".parse().unwrap());
        let (owner, served) = (caller("app", |_| {}), caller("api", |api| api.serves = vec!["api".into()]));
        let checks = |caller: &Caller, audience| caller.may_check(&session, &mobile, audience);
        assert!(checks(&owner, None) && !checks(&owner, Some("api")));
        assert!(checks(&served, Some("api")) && !checks(&served, Some("other")) && !checks(&served, None));
    }

    #[test]
    fn a_caller_is_recorded_and_checked_by_its_client_and_the_admin_socket_has_none() {
        let (app, mut cuts) = (caller("app", |_| {}), CutOffs::default());
        assert_eq!((app.name(), Caller::AdminSocket.name()), ("app", ADMIN_SOCKET));
        let party = app.party().unwrap();
        assert!(party.is_caller && Caller::AdminSocket.party().is_none());
        assert_eq!(app.check_current(&cuts).unwrap_err().refusal, Refusal::InvalidClient);
        assert!(Caller::AdminSocket.check_current(&cuts).is_ok());
        cuts.registered.insert(party.client.id.clone(), party.client);
        assert!(app.check_current(&cuts).is_ok());
    }

    #[test]
    fn a_permission_is_granted_to_its_holder_and_to_administrators_only() {
        let caller = |permission| caller("app", |client| client.permissions = vec![permission]);
        let named = |refused: Refused| (refused.refusal, refused.detail.into_owned());
        assert!(caller(Permission::Sessions).require::<UseSessions>().is_ok());
        assert!(caller(Permission::Admin).require::<ReadMetrics>().is_ok());
        assert!(Caller::AdminSocket.require::<Administer>().is_ok());
        assert!(caller(Permission::IntrospectAny).require::<IntrospectTokens>().is_ok());
        assert_eq!(
            named(caller(Permission::IntrospectAny).require::<UseSessions>().unwrap_err()),
            (Refusal::Forbidden, "this needs the permission sessions".into())
        );
        assert_eq!(
            named(caller(Permission::Sessions).require::<IntrospectTokens>().unwrap_err()),
            (Refusal::Forbidden, "this needs the permission introspect".into())
        );
    }
}
