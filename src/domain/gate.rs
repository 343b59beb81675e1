//! The requirements of a proxy's question: client, scope, `acr` and maximum age (RFC 9470).

use std::time::Duration;

use super::access::Authentication;
use super::id::ClientId;
use super::names::names;
use super::scope::ScopeSet;
use super::text::TextPattern;
use super::time::Timestamp;

/// The requirements. An empty member requires nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Gate {
    /// Scopes that are all required.
    pub scope: ScopeSet,
    /// The permitted clients.
    pub clients: Vec<ClientId>,
    /// The permitted authentication context classes.
    pub acr: Vec<Box<str>>,
    /// The maximum age of the authentication.
    pub max_age: Option<Duration>,
}

/// A gate of the configuration: proxies name it, and give no requirements of their own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NamedGate {
    /// Its name in the path.
    pub name: Box<str>,
    pub gate: Gate,
    /// The audience that an access token must have; the issuer if absent.
    pub audience: Option<Box<str>>,
    /// The headers with a value; the others are sent empty.
    pub headers: Vec<IdentityHeader>,
}

names! {
    /// A response header that identifies the signed-in subject to a proxy.
    pub enum IdentityHeader {
        Subject = "X-Keyfob-Subject",
        Session = "X-Keyfob-Session",
        Client = "X-Keyfob-Client",
        Scope = "X-Keyfob-Scope",
        Acr = "X-Keyfob-Acr",
    }
}

/// The requirement that a signed-in subject does not meet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Denied {
    /// The session is for a client that is not permitted.
    Client,
    /// A required scope is missing.
    Scope,
    /// The subject must authenticate again, or with a higher `acr`.
    StepUp,
}

/// The name of a gate.
pub const GATE_NAME: TextPattern = TextPattern { min: 0, max: 0, regex: "^[A-Za-z0-9_-]{1,64}$" };

/// Whether `text` can be the name of a gate.
pub fn is_gate_name(text: &str) -> bool {
    let valid = |b: u8| b.is_ascii_alphanumeric() || b"-_".contains(&b);
    (1..=64).contains(&text.len()) && text.bytes().all(valid)
}

impl Gate {
    /// Checks the requirements. Those that a new sign-in cannot meet come first.
    ///
    /// # Errors
    /// The first requirement that is not met.
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

    /// SES-12, BER-10: sensitive operations require a level and an age.
    #[test]
    fn a_gate_denies_what_does_not_meet_its_requirements() {
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
    fn a_session_without_acr_is_denied_where_one_is_required() {
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

    #[test]
    fn the_name_of_a_gate_has_1_to_64_letters_digits_hyphens_and_underscores() {
        assert!(is_gate_name("a") && is_gate_name("Mail_2-b") && is_gate_name(&"x".repeat(64)));
        for invalid in ["", "a b", "a.b", "\u{e9}", &"x".repeat(65)] {
            assert!(!is_gate_name(invalid), "{invalid}");
        }
    }
}
