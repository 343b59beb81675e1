//! The session object, as every route shows it (contract, section 5).

use poem_openapi::Object;
use serde::{Deserialize, Serialize};

use crate::domain::end::{End, EndReason};
use crate::domain::session::{Device, Standing, State};
use crate::engine::read::View;
use crate::http::request::types::{RawObject, Time, Wire};
use crate::store::StoreError;

/// A session.
#[derive(Debug, Serialize, Deserialize, Object)]
#[oai(rename = "Session")]
pub struct SessionObject {
    /// Its identifier, `sid` in tokens.
    pub id: String,
    /// Who signed in.
    pub subject: String,
    /// The client whose session it is.
    pub client_id: String,
    /// Who opened it: a client, or `admin.sock`.
    pub opened_by: String,
    /// Whether it lives.
    pub state: Wire<State>,
    /// When it was opened.
    pub created_at: Time,
    /// When the subject last authenticated.
    pub authenticated_at: Time,
    /// The last activity.
    pub last_used_at: Time,
    /// When it expires for want of activity.
    pub idle_expires_at: Time,
    /// When it ends whatever happens; only another authentication moves it.
    pub expires_at: Time,
    /// How the subject authenticated (authentication context class).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub acr: Option<String>,
    /// By which methods (RFC 8176).
    pub amr: Vec<String>,
    /// What was granted: names joined by spaces.
    pub scope: String,
    /// Where it was opened from.
    pub device: DeviceObject,
    /// What goes into its tokens and into introspection.
    pub claims: RawObject,
    /// Private to the session; only for the clients whose session it is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub data: Option<RawObject>,
    /// Whether the longer timeouts apply.
    pub remember: bool,
    /// Its refresh-token families.
    pub families: Vec<FamilyObject>,
    /// When, why and by whom it was ended; null unless it was.
    pub ended: Option<Ended>,
    /// Counts changes and renewals, not refreshes.
    pub version: u32,
}

/// Where a session was opened from.
#[derive(Debug, Default, Serialize, Deserialize, Object)]
#[oai(rename = "Device", deny_unknown_fields)]
#[serde(deny_unknown_fields)]
pub struct DeviceObject {
    /// The browser's or program's own name, at most 1024 bytes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user_agent: Option<String>,
    /// The address, at most 256 bytes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ip: Option<String>,
    /// What a person calls it, at most 256 bytes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub label: Option<String>,
}

/// A refresh-token family.
#[derive(Debug, Serialize, Deserialize, Object)]
#[oai(rename = "Family")]
pub struct FamilyObject {
    /// Its number in the session, `fam` in tokens.
    pub id: u16,
    /// Whether it lives.
    pub state: Wire<State>,
    /// To whom it was issued.
    pub client_id: String,
    /// What was granted.
    pub scope: String,
    /// For whom its access tokens are.
    pub audience: String,
    /// The number of its rotations.
    pub generation: u32,
    /// When it was last rotated, or opened.
    pub refreshed_at: Time,
}

/// How a session was ended.
#[derive(Debug, Serialize, Deserialize, Object)]
pub struct Ended {
    /// When.
    pub at: Time,
    /// Why.
    pub reason: Wire<EndReason>,
    /// By whom: a client, `admin.sock`, or `keyfob` itself.
    pub by: String,
}

impl SessionObject {
    /// A session as a caller sees it.
    ///
    /// # Errors
    /// `Corrupt` if the stored claims or data are not JSON.
    pub fn new(view: View) -> Result<Self, StoreError> {
        let View { session, standing, active_families, data } = view;
        let families = session.families.iter().zip(active_families).map(|(family, lives)| FamilyObject {
            id: family.number,
            state: Wire(if lives { State::from(&standing) } else { State::Ended }),
            client_id: family.client_id.to_string(),
            scope: family.scope.to_string(),
            audience: family.audience.to_string(),
            generation: family.generation,
            refreshed_at: Wire(family.refreshed_at),
        });
        let object = |text: Option<&str>, cause| {
            RawObject::from_text(text).ok_or_else(|| {
                let key = session.id.to_string().into();
                StoreError::Corrupt { table: "sessions", key, cause }
            })
        };
        let claims = object(session.claims.as_ref().map(|claims| &*claims.0), "its claims are not JSON")?;
        let data = data
            .map(|data| object(data.as_ref().map(|data| &*data.0), "its data is not JSON"))
            .transpose()?;
        Ok(Self {
            id: session.id.to_string(),
            subject: session.subject.as_str().into(),
            client_id: session.client_id.to_string(),
            opened_by: session.opened_by.to_string(),
            state: Wire(State::from(&standing)),
            created_at: Wire(session.created_at),
            authenticated_at: Wire(session.authentication.at),
            last_used_at: Wire(session.last_used_at),
            idle_expires_at: Wire(session.idle_expires_at()),
            expires_at: Wire(session.expires_at),
            acr: session.authentication.acr.as_deref().map(Into::into),
            amr: session.authentication.amr.iter().map(ToString::to_string).collect(),
            scope: session.scope.to_string(),
            families: families.collect(),
            device: session.device.into(),
            claims,
            data,
            remember: session.remember,
            ended: match standing {
                Standing::Ended(end) => Some(end.into()),
                Standing::Active | Standing::Expired => None,
            },
            version: session.version,
        })
    }
}

impl From<End> for Ended {
    fn from(end: End) -> Self {
        Self { at: Wire(end.at), reason: Wire(end.reason), by: end.by.into() }
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
