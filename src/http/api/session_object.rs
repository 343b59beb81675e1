//! The session object, as every route shows it (contract, section 5).

use poem_openapi::Object;

use crate::domain::end::{End, EndReason};
use crate::domain::session::{Device, Standing, State};
use crate::engine::read::View;
use crate::http::request::types::{FreeObject, Time, Word};

/// A session.
#[derive(Debug, Object)]
#[oai(rename = "Session")]
pub struct SessionObject {
    /// Its identifier, `sid` in tokens.
    id: String,
    /// Who signed in.
    subject: String,
    /// The client whose session it is.
    client_id: String,
    /// Who opened it: a client, or `admin.sock`.
    opened_by: String,
    /// Whether it lives.
    state: Word<State>,
    /// When it was opened.
    created_at: Time,
    /// When the subject last authenticated.
    authenticated_at: Time,
    /// The last activity.
    last_used_at: Time,
    /// When it expires for want of activity.
    idle_expires_at: Time,
    /// When it ends whatever happens; only another authentication moves it.
    expires_at: Time,
    /// How the subject authenticated (authentication context class).
    #[oai(skip_serializing_if_is_none)]
    acr: Option<String>,
    /// By which methods (RFC 8176).
    amr: Vec<String>,
    /// What was granted: names joined by spaces.
    scope: String,
    /// Where it was opened from.
    device: DeviceObject,
    /// What goes into its tokens and into introspection.
    claims: FreeObject,
    /// Private to the session; only for the clients whose session it is.
    #[oai(skip_serializing_if_is_none)]
    data: Option<FreeObject>,
    /// Whether the longer timeouts apply.
    remember: bool,
    /// Its refresh-token families.
    families: Vec<FamilyObject>,
    /// When, why and by whom it was ended; null unless it was.
    ended: Option<Ended>,
    /// Counts changes and renewals, not refreshes.
    version: u32,
}

/// Where a session was opened from.
#[derive(Debug, Default, Object)]
#[oai(rename = "Device", deny_unknown_fields)]
pub struct DeviceObject {
    /// The browser's or program's own name, at most 1024 bytes.
    #[oai(skip_serializing_if_is_none)]
    pub user_agent: Option<String>,
    /// The address, at most 256 bytes.
    #[oai(skip_serializing_if_is_none)]
    pub ip: Option<String>,
    /// What a person calls it, at most 256 bytes.
    #[oai(skip_serializing_if_is_none)]
    pub label: Option<String>,
}

/// A refresh-token family.
#[derive(Debug, Object)]
#[oai(rename = "Family")]
pub struct FamilyObject {
    /// Its number in the session, `fam` in tokens.
    id: u16,
    /// Whether it lives.
    state: Word<State>,
    /// To whom it was issued.
    client_id: String,
    /// What was granted.
    scope: String,
    /// For whom its access tokens are.
    audience: String,
    /// The number of its rotations.
    generation: u32,
    /// When it was last rotated, or opened.
    refreshed_at: Time,
}

/// How a session was ended.
#[derive(Debug, Object)]
pub struct Ended {
    /// When.
    at: Time,
    /// Why.
    reason: Word<EndReason>,
    /// By whom: a client, `admin.sock`, or `keyfob` itself.
    by: String,
}

impl From<View> for SessionObject {
    fn from(view: View) -> Self {
        let View { session, standing, live_families, data } = view;
        let families = session.families.iter().zip(live_families).map(|(family, lives)| FamilyObject {
            id: family.number,
            state: Word(if lives { State::from(&standing) } else { State::Ended }),
            client_id: family.client_id.to_string(),
            scope: family.scope.to_string(),
            audience: family.audience.to_string(),
            generation: family.generation,
            refreshed_at: Time(family.refreshed_at),
        });
        Self {
            id: session.id.to_string(),
            subject: session.subject.as_str().into(),
            client_id: session.client_id.to_string(),
            opened_by: session.opened_by.to_string(),
            state: Word(State::from(&standing)),
            created_at: Time(session.created_at),
            authenticated_at: Time(session.authentication.at),
            last_used_at: Time(session.last_used_at),
            idle_expires_at: Time(session.idle_expires_at()),
            expires_at: Time(session.expires_at),
            acr: session.authentication.acr.as_deref().map(Into::into),
            amr: session.authentication.amr.iter().map(ToString::to_string).collect(),
            scope: session.scope.to_string(),
            families: families.collect(),
            device: session.device.into(),
            claims: FreeObject::from_text(session.claims.as_ref().map(|claims| &*claims.0)),
            data: data.map(|data| FreeObject::from_text(data.as_ref().map(|data| &*data.0))),
            remember: session.remember,
            ended: match standing {
                Standing::Ended(end) => Some(end.into()),
                Standing::Active | Standing::Expired => None,
            },
            version: session.version,
        }
    }
}

impl From<End> for Ended {
    fn from(end: End) -> Self {
        Self { at: Time(end.at), reason: Word(end.reason), by: end.by.into() }
    }
}

impl From<Device> for DeviceObject {
    fn from(device: Device) -> Self {
        let text = |text: Option<Box<str>>| text.map(Into::into);
        Self { user_agent: text(device.user_agent), ip: text(device.ip), label: text(device.label) }
    }
}

impl From<DeviceObject> for Device {
    fn from(device: DeviceObject) -> Self {
        let text = |text: Option<String>| text.map(Into::into);
        Self { user_agent: text(device.user_agent), ip: text(device.ip), label: text(device.label) }
    }
}
