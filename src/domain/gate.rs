//! What a proxy asks of whoever wants in: which client, which scope, and how strongly and freshly they
//! authenticated (RFC 9470).

use std::time::Duration;

use super::access::Authentication;
use super::id::ClientId;
use super::scope::ScopeSet;
use super::time::Timestamp;

/// What is asked. Everything left empty is not asked.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Gate {
    /// Scopes that must all be there.
    pub scope: ScopeSet,
    /// Clients of which it must be one.
    pub clients: Vec<ClientId>,
    /// Authentication context classes of which it must be one.
    pub acr: Vec<Box<str>>,
    /// How long ago the authentication may be.
    pub max_age: Option<Duration>,
}

/// Why somebody who is signed in is turned away.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Denied {
    /// The session is another client's.
    Client,
    /// The scope is not enough.
    Scope,
    /// The subject must authenticate again, or more strongly.
    StepUp,
}

impl Gate {
    /// Lets in, or says why not. What another sign-in cannot mend comes first.
    pub fn admit(
        &self,
        client: &ClientId,
        scope: &ScopeSet,
        authentication: &Authentication,
        now: Timestamp,
    ) -> Result<(), Denied> {
        if !self.clients.is_empty() && !self.clients.contains(client) {
            return Err(Denied::Client);
        }
        if !scope.contains_all(&self.scope) {
            return Err(Denied::Scope);
        }
        let strong =
            self.acr.is_empty() || authentication.acr.as_ref().is_some_and(|acr| self.acr.contains(acr));
        let fresh = self.max_age.is_none_or(|max_age| now <= authentication.at.plus(max_age));
        if strong && fresh { Ok(()) } else { Err(Denied::StepUp) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// SES-12, BER-10: sensitive things ask for a level and an age.
    #[test]
    fn a_gate_turns_away_whoever_lacks_what_it_asks() {
        let now = Timestamp::from_seconds(1_000);
        let authentication =
            Authentication { at: Timestamp::from_seconds(900), acr: Some("mfa".into()), amr: vec![] };
        let (app, scope): (ClientId, ScopeSet) = ("app".parse().unwrap(), "read".parse().unwrap());
        let admit = |gate: Gate| gate.admit(&app, &scope, &authentication, now);
        assert_eq!(admit(Gate::default()), Ok(()));
        assert_eq!(
            admit(Gate { clients: vec!["other".parse().unwrap()], ..Gate::default() }),
            Err(Denied::Client)
        );
        assert_eq!(
            admit(Gate { scope: "read write".parse().unwrap(), ..Gate::default() }),
            Err(Denied::Scope)
        );
        assert_eq!(admit(Gate { acr: vec!["pwd".into()], ..Gate::default() }), Err(Denied::StepUp));
        assert_eq!(admit(Gate { acr: vec!["pwd".into(), "mfa".into()], ..Gate::default() }), Ok(()));
        assert_eq!(
            admit(Gate { max_age: Some(Duration::from_secs(99)), ..Gate::default() }),
            Err(Denied::StepUp)
        );
        assert_eq!(admit(Gate { max_age: Some(Duration::from_secs(100)), ..Gate::default() }), Ok(()));
    }

    #[test]
    fn a_session_that_says_no_level_does_not_pass_where_one_is_asked() {
        let authentication = Authentication { at: Timestamp::from_seconds(0), acr: None, amr: vec![] };
        let gate = Gate { acr: vec!["mfa".into()], ..Gate::default() };
        let admitted = gate.admit(
            &"app".parse().unwrap(),
            &ScopeSet::default(),
            &authentication,
            Timestamp::from_seconds(0),
        );
        assert_eq!(admitted, Err(Denied::StepUp));
    }
}
